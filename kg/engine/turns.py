"""Who may evaluate next: fair turns between callers, and a place that slow queries never take.

Hides the queue. Pure bookkeeping over a fixed number of places; it evaluates nothing. Promises that

- one caller's many queries delay another's by one turn, not by their number;
- while there are two places or more, one is always free of slow queries, so a look-up waits for look-ups only;
- slow queries get a turn even while look-ups keep coming;
- nobody waits without bound: past the queue's length, or half of it for one caller, `Overloaded` is raised at once.

A query is slow when the same text was slow last time. One never seen starts as quick; when it turns out slow it gives the quick
place back: it goes on where it runs if a slow place is free, else it must be stopped and wait for one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from kg.engine import Caller
from kg.errors import CallerGone, Overloaded

#: Seconds within which a query counts as quick.
QUICK = 0.1

#: Texts whose speed is remembered.
_REMEMBERED = 10_000


@dataclass(eq=False)
class Turn:
    """The right to evaluate one query once it is `placed`, until `Turns.leave`. `woken` is called, quickly and from any thread,
    when a turn that was not given at once is."""

    slow: bool
    placed: bool = False
    woken: Callable[[], object] | None = None


class _Line:
    """Those who wait, by caller; callers take turns."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[Turn]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def count(self, caller: str) -> int:
        return len(self._of.get(caller, ()))

    def add(self, caller: str, turn: Turn, *, first: bool) -> None:
        turns = self._of.setdefault(caller, deque())
        self._count += 1
        if first:
            turns.appendleft(turn)
        else:
            turns.append(turn)

    def next(self) -> Turn:
        caller, turns = next(iter(self._of.items()))
        turn = turns.popleft()
        self._count -= 1
        del self._of[caller]
        if turns:
            self._of[caller] = turns  # to the end of the round
        return turn

    def remove(self, caller: str, turn: Turn) -> None:
        turns = self._of.get(caller)
        if turns is not None and turn in turns:
            turns.remove(turn)
            self._count -= 1
            if not turns:
                del self._of[caller]


class Turns:
    """Places for `places` queries at once and a queue of `queue` before them. Threads share one."""

    def __init__(self, places: int, queue: int) -> None:
        self._places = places
        self._slow_places = max(1, places - 1)
        self._queue = queue
        self._lock = threading.Lock()
        self._running = 0
        self._running_slow = 0
        self._quick, self._slow = _Line(), _Line()
        self._was_slow: OrderedDict[int, bool] = OrderedDict()

    def enter(self, text: str, caller: Caller, patience: float, *, slow: bool | None = None) -> Turn:
        """Wait for a turn, at most `patience` seconds: `ask` and `wait`."""
        return self.wait(self.ask(text, caller, slow=slow), caller, patience)

    def ask(
        self, text: str, caller: Caller, *, slow: bool | None = None, woken: Callable[[], object] | None = None
    ) -> Turn:
        """A turn, given already or to wait for, and in the end to `leave` or to `withdraw`. Raises `Overloaded`.

        `slow` is for a query that was stopped for being slow: it goes before its caller's others.
        """
        with self._lock:
            again = slow is not None
            turn = Turn(self._was_slow.get(hash(text), False) if slow is None else slow)
            line = self._line(turn)
            if not turn.slow and self._running < self._places and not len(self._quick) and not len(self._slow):
                self._running += 1  # what `_grant` would come to
                turn.placed = True
                return turn
            if not again:
                waiting, own = len(self._quick) + len(self._slow), line.count(caller.address)
                if waiting >= self._queue or own >= max(1, self._queue // 2):
                    raise Overloaded(
                        f"{waiting} queries are waiting already, {own} of them yours; try again in a few seconds",
                        retry_after=5,
                    )
            line.add(caller.address, turn, first=again)
            self._grant()
            turn.woken = woken  # not before: who is given a turn at once need not be told
        return turn

    def wait(self, turn: Turn, caller: Caller, patience: float) -> Turn:
        """The turn once it is given, within `patience` seconds. Raises `Overloaded` or `CallerGone`; then it is no more."""
        if turn.placed and not caller.gone:
            return turn
        given = threading.Event()
        with self._lock:
            turn.woken = given.set
            if turn.placed:
                given.set()
        with caller.on_hang_up(given.set):
            given.wait(patience)
        with self._lock:
            self._line(turn).remove(caller.address, turn)
        if caller.gone:
            if turn.placed:
                self.leave(turn)
            raise CallerGone("the caller went away while the query waited")
        if not turn.placed:
            raise Overloaded(
                f"no query process became free within {patience:g} seconds; try again in a few seconds", retry_after=5
            )
        return turn

    def withdraw(self, turn: Turn, caller: Caller) -> None:
        """Give up a turn for which nothing was evaluated, given or not."""
        with self._lock:
            self._line(turn).remove(caller.address, turn)
            turn.woken = None
        if turn.placed:
            self.leave(turn)

    def became_slow(self, turn: Turn) -> bool:
        """Tell that a query has been running for longer than `QUICK`; whether it may go on where it is."""
        with self._lock:
            if turn.slow:
                return True
            if self._running_slow >= self._slow_places:
                return False
            turn.slow = True
            self._running_slow += 1
            self._grant()
            return True

    def leave(self, turn: Turn, text: str | None = None, *, slow: bool = False) -> None:
        """Give the place to the next; remember whether this text was slow, if it came to an end."""
        with self._lock:
            self._running -= 1
            self._running_slow -= turn.slow
            if text is not None:
                self._was_slow[hash(text)] = slow
                self._was_slow.move_to_end(hash(text))
                if len(self._was_slow) > _REMEMBERED:
                    self._was_slow.popitem(last=False)
            self._grant()

    def waiting(self) -> int:
        """How many wait now."""
        with self._lock:
            return len(self._quick) + len(self._slow)

    def _line(self, turn: Turn) -> _Line:
        return self._slow if turn.slow else self._quick

    def _grant(self) -> None:
        while self._running < self._places:
            slow_may = bool(len(self._slow)) and self._running_slow < self._slow_places
            quick_runs = self._running > self._running_slow
            if slow_may and (quick_runs or not len(self._quick)):
                turn = self._slow.next()
                self._running_slow += 1
            elif len(self._quick):
                turn = self._quick.next()
            else:
                return
            self._running += 1
            turn.placed = True
            if turn.woken is not None:
                turn.woken()
