"""What holds for an instance at present, while a stretch of steps is under way: its states are as of its start."""

from __future__ import annotations

from llmsim.engine.ahead import StatesAhead
from llmsim.engine.async_loop import AsyncLoop
from llmsim.engine.loop import Loop
from llmsim.engine.stretch import Stretch
from llmsim.request import Request, RequestView


class BetweenSteps:
    """Questions that routers and users ask at any time."""

    __slots__ = ("_alarm", "_loop", "_states")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._states = loop.states
        self._alarm = loop.alarm

    def last_token_s(self, request: Request) -> float:
        """When the latest token of a request was emitted, up to now; NaN if there is none."""
        if request.counter is None:
            return request.last_token_s
        stretch = self._loop.stretch
        if stretch is not None and stretch.decoding:
            step = stretch.ended_by(self._alarm.clock.now_s)
            if step:
                return stretch.step_end_s(step)
        return self._states.last_decode_s if request.counter.steps > request.joined_step else request.last_token_s

    def cached_tokens(self, request: RequestView) -> int:
        """Tokens that a request would find in the prefix cache if it were admitted now."""
        states, stretch = self._states, self._loop.stretch
        cache = states.cache
        if cache is None:
            return 0
        steps = 0
        if stretch is not None and stretch.decoding:  # a step takes memory, and fills blocks, when it begins
            steps = self._steps_begun(stretch)
            cache.evict_ahead(states.batch.blocks_within(steps))
        return cache.cached_blocks(request.id, request.tokens_to_prefill, steps) * cache.block_tokens

    def free_blocks(self, before_s: float | None = None) -> int:
        """KV blocks that are free now, or were before a time since which nothing but decode steps happened."""
        states, stretch = self._states, self._loop.stretch
        if stretch is None or not stretch.decoding:
            return states.memory.free_blocks
        return states.memory.free_blocks - states.batch.blocks_within(self._steps_in_memory(stretch, before_s))

    def _steps_begun(self, stretch: Stretch) -> int:
        """How many steps of a stretch have begun by now, or are about to."""
        return min(self._steps_in_memory(stretch) + 1, stretch.steps)

    def _steps_in_memory(self, stretch: Stretch, before_s: float | None = None) -> int:
        """How many steps of a stretch have taken memory by now, or before a time: those that have ended.

        One that ends at this very time has not if this instance's turn is still to come: it has for users, who leave
        last, and for what an instance of a higher number causes.
        """
        if before_s is not None:
            return stretch.ended_before(before_s)
        now_s = self._alarm.clock.now_s
        return stretch.ended_before(now_s) if self._alarm.yet_to_come else stretch.ended_by(now_s)


class BetweenStepsAhead(BetweenSteps):
    """The same questions where states are a batch ahead (ahead.py): what they count may be in flight."""

    __slots__ = ()

    _loop: AsyncLoop
    _states: StatesAhead

    def last_token_s(self, request: Request) -> float:
        """When the latest token of a request was emitted, up to now; NaN if there is none."""
        states, in_flight = self._states, self._states.in_flight
        if self._alarm.clock.now_s >= in_flight.ends_s:
            return super().last_token_s(request)
        if request.id in in_flight.before_s:
            return in_flight.before_s[request.id]
        if request.counter is None:
            return request.last_token_s
        if in_flight.decodes(request):
            return in_flight.decode_s if request.counter.steps - 1 > request.joined_step else request.last_token_s
        return states.last_decode_s if request.counter.steps > request.joined_step else request.last_token_s

    def _steps_begun(self, stretch: Stretch) -> int:
        """How many steps of a stretch have been decided by now."""
        return self._steps_in_memory(stretch)

    def _steps_in_memory(self, stretch: Stretch, before_s: float | None = None) -> int:
        """How many steps of a stretch have taken memory by now, or before a time: those that have been decided.

        One that does not end within the run takes none (`AsyncLoop.act`).
        """
        if before_s is None:
            before_s, arriving = self._alarm.clock.now_s, self._alarm.yet_to_come
        else:
            arriving = True
        until_s = self._states.in_flight.until_s
        within = stretch.steps if stretch.end_s <= until_s else stretch.ended_by(until_s)
        return min(self._loop.steps_up_to(stretch, before_s, arriving), within)
