"""The time for which the event loop itself waits for the answer of a query, before it leaves that to a thread.

Hides descriptors and futures. Promises that the loop is never held up, and that a query is waited for once, here or elsewhere.
"""

from __future__ import annotations

import asyncio

from kg.engine import Answer, Pending

#: Seconds for which a query is waited for in the event loop; then a thread waits for it, which knows of slow queries, deadlines
#: and clients that go away. Handing a request to a thread and back costs more than a look-up itself (0.5 ms and more of both).
_AT_ONCE = 0.05


class Pipes:
    """Descriptors that the event loop watches for replies: on from one query to the next, for beginning and ending that costs more
    than a look-up. Whoever reads from one elsewhere has it forgotten by the first sign of that.

    Should one be closed unseen and its number be another's, the reply on that is waited for in vain, and it is watched anew."""

    def __init__(self) -> None:
        self._watched: dict[int, asyncio.Future[bool] | None] = {}

    def expect(self, loop: asyncio.AbstractEventLoop, descriptor: int, reply: asyncio.Future[bool]) -> None:
        """Settle this future when there is something to read."""
        if descriptor not in self._watched:
            loop.add_reader(descriptor, self._is_ready, loop, descriptor)
        self._watched[descriptor] = reply

    def has_replied(self, descriptor: int) -> None:
        """What there was is read."""
        if descriptor in self._watched:
            self._watched[descriptor] = None

    def forget(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        """Watch it no more."""
        if self._watched.pop(descriptor, 0) != 0:
            loop.remove_reader(descriptor)

    def _is_ready(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        reply = self._watched.get(descriptor)
        if reply is None:
            self.forget(loop, descriptor)
        else:
            _settle(reply, True)


class Moment:
    """The time for which the event loop waits for an answer: first for the query's turn, then for something to read."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pipes: Pipes) -> None:
        self._loop = loop
        self._pipes = pipes
        self._turn: asyncio.Future[bool] | None = None
        self._was_placed = False
        self._reply: asyncio.Future[bool] = loop.create_future()

    def placed(self) -> None:
        """It is the query's turn. From any thread."""
        self._was_placed = True
        self._loop.call_soon_threadsafe(self._settle_turn, True)

    async def answer_of(self, pending: Pending) -> Answer | None:
        """The answer, if it is there within the moment and is one."""
        loop = self._loop
        end = loop.call_later(_AT_ONCE, self._pass)
        try:
            if not pending.has_turn and not await self._has_turn():
                return None
            descriptor = pending.start()
            if descriptor is None:
                return None
            self._pipes.expect(loop, descriptor, self._reply)
            answer = None
            try:
                answer = pending.receive() if await self._reply else None
                return answer
            finally:
                if answer is not None:
                    self._pipes.has_replied(descriptor)
                else:
                    self._pipes.forget(loop, descriptor)
        finally:
            end.cancel()

    async def _has_turn(self) -> bool:
        self._turn = self._loop.create_future()
        if self._was_placed:  # before there was a future to tell
            return True
        return await self._turn

    def _settle_turn(self, value: bool) -> None:
        if self._turn is not None:
            _settle(self._turn, value)

    def _pass(self) -> None:
        self._settle_turn(False)
        _settle(self._reply, False)


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)
