"""Who may evaluate next. Threads stand for callers; nothing is evaluated, so every order is exact."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from serving import until

from kg.engine import Caller
from kg.engine.turns import Turn, Turns
from kg.errors import CallerGone, Overloaded


class Waiting:
    """Somebody who waits for a turn in a thread of their own."""

    def __init__(self, turns: Turns, caller: Caller, text: str = "q", patience: float = 30) -> None:
        self.turn: Turn | None = None
        self.error: Exception | None = None

        def run() -> None:
            try:
                self.turn = turns.enter(text, caller, patience)
            except (Overloaded, CallerGone) as error:
                self.error = error

        before = turns.waiting()
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        until(lambda: turns.waiting() > before or not self.thread.is_alive(), "it waits, or has its turn")

    def has_turn(self) -> bool:
        self.thread.join(0.05 if self.turn is None else None)
        return self.turn is not None


def fill(turns: Turns, count: int) -> list[Turn]:
    return [turns.enter(f"filler {n}", Caller("filler"), 1) for n in range(count)]


def make_slow(turns: Turns, text: str) -> None:
    turns.leave(turns.enter(text, Caller("teacher"), 1), text, slow=True)


def test_a_free_place_is_given_at_once() -> None:
    turns = Turns(2, 4)
    assert turns.enter("q", Caller("a"), 0).placed


def test_callers_take_turns_whatever_the_number_of_their_queries() -> None:
    turns = Turns(2, 20)
    running = fill(turns, 2)
    many = [Waiting(turns, Caller("many"), f"m{n}") for n in range(5)]
    one = Waiting(turns, Caller("one"), "single")
    order: list[str] = []
    for _ in range(3):
        turns.leave(running.pop())
        until(lambda: sum(w.turn is not None for w in (*many, one)) > len(order), "somebody has the next turn")
        for name, waiting in [*((f"many {n}", w) for n, w in enumerate(many)), ("one", one)]:
            if waiting.turn is not None and name not in order:
                order.append(name)
                running.append(waiting.turn)
    assert order[:2] == ["many 0", "one"]
    assert order[2] == "many 1"


def test_slow_queries_never_take_the_last_place() -> None:
    turns = Turns(2, 10)
    make_slow(turns, "slow")
    first = turns.enter("slow", Caller("a"), 1)
    second = Waiting(turns, Caller("b"), "slow")
    assert not second.has_turn()
    assert turns.enter("look-up", Caller("c"), 0).placed
    turns.leave(first)
    assert second.has_turn()


def test_a_look_up_does_not_wait_behind_slow_ones() -> None:
    turns = Turns(3, 50)
    make_slow(turns, "slow")
    for _ in range(2):
        turns.enter("slow", Caller("a"), 1)
    waiting = [Waiting(turns, Caller("a"), "slow") for _ in range(10)]
    assert turns.enter("look-up", Caller("a"), 0).placed
    assert not any(w.has_turn() for w in waiting)


def test_a_query_that_turns_out_slow_goes_on_where_a_slow_place_is_free() -> None:
    turns = Turns(2, 4)
    turn = turns.enter("unknown", Caller("a"), 1)
    assert turns.became_slow(turn)
    other = turns.enter("another", Caller("b"), 1)
    assert not turns.became_slow(other), "both places would be slow"


def test_a_query_stopped_for_being_slow_goes_before_its_callers_others() -> None:
    turns = Turns(2, 10)
    make_slow(turns, "slow")
    first = turns.enter("slow", Caller("a"), 1)
    waiting = Waiting(turns, Caller("a"), "slow")
    stopped: list[Turn] = []
    again = threading.Thread(
        target=lambda: stopped.append(turns.enter("other", Caller("a"), 30, slow=True)), daemon=True
    )
    again.start()
    until(lambda: turns.waiting() == 2, "both wait")
    turns.leave(first)
    again.join(5)
    assert stopped and waiting.turn is None


def test_slow_queries_get_a_turn_while_look_ups_keep_coming() -> None:
    turns = Turns(2, 50)
    make_slow(turns, "slow")
    running = fill(turns, 2)
    look_ups = [Waiting(turns, Caller(f"l{n}"), f"l{n}") for n in range(5)]
    slow = Waiting(turns, Caller("s"), "slow")
    turns.leave(running.pop())
    assert slow.has_turn(), "one place is with look-ups, so the next free one is for the slow query"
    assert sum(w.turn is not None for w in look_ups) == 0


def test_with_one_place_all_share_it() -> None:
    turns = Turns(1, 4)
    make_slow(turns, "slow")
    turn = turns.enter("slow", Caller("a"), 1)
    assert turns.became_slow(turn)
    turns.leave(turn)
    quick = turns.enter("quick", Caller("a"), 1)
    assert turns.became_slow(quick)


def test_past_the_queue_callers_are_told_at_once() -> None:
    turns = Turns(1, 4)
    fill(turns, 1)
    for n in range(4):
        Waiting(turns, Caller(f"c{n}"))
    with pytest.raises(Overloaded) as caught:
        turns.enter("q", Caller("late"), 30)
    assert caught.value.facts["retry_after"] > 0


def test_one_caller_may_fill_half_of_the_queue_and_no_more() -> None:
    turns = Turns(1, 4)
    fill(turns, 1)
    for _ in range(2):
        Waiting(turns, Caller("greedy"))
    with pytest.raises(Overloaded):
        turns.enter("q", Caller("greedy"), 30)
    assert not Waiting(turns, Caller("modest")).error


def test_patience_ends_and_leaves_no_trace() -> None:
    turns = Turns(1, 4)
    [running] = fill(turns, 1)
    with pytest.raises(Overloaded):
        turns.enter("q", Caller("a"), 0.01)
    assert turns.waiting() == 0
    turns.leave(running)
    assert turns.enter("q", Caller("a"), 0).placed


def test_a_caller_who_goes_away_leaves_the_queue() -> None:
    turns = Turns(1, 4)
    [running] = fill(turns, 1)
    caller = Caller("a")
    waiting = Waiting(turns, caller)
    caller.hang_up()
    waiting.thread.join(5)
    assert isinstance(waiting.error, CallerGone)
    assert turns.waiting() == 0
    turns.leave(running)
    assert turns.enter("q", Caller("b"), 0).placed


@pytest.mark.parametrize("places", [1, 2, 3])
def test_places_are_never_exceeded_nor_lost(places: int) -> None:
    turns = Turns(places, 1000)
    at_once: list[int] = [0, 0]
    lock = threading.Lock()
    make_slow(turns, "slow")

    def work(name: str, text: Callable[[int], str]) -> None:
        for n in range(40):
            turn = turns.enter(text(n), Caller(name), 30)
            with lock:
                at_once[0] += 1
                at_once[1] = max(at_once)
            with lock:
                at_once[0] -= 1
            turns.leave(turn, "other")

    threads = [
        threading.Thread(target=work, args=(f"c{n}", (lambda i: "slow") if n % 2 else (lambda i: f"q{i}")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert at_once == [0, at_once[1]]
    assert at_once[1] <= places
    for turn in [turns.enter(f"after {n}", Caller("x"), 0) for n in range(places)]:
        assert turn.placed
