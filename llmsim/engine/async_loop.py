"""The main loop under asynchronous scheduling, vLLM's default since 0.14: two batches are in flight.

Batches run one after another. The batch after the next one is decided when a batch ends, at once if fewer than two are
in flight. So this loop does what loop.py does, one step earlier: it acts when the last step of a stretch *starts*,
counts that step's tokens as emitted (ahead.py), and decides what comes after it. What arrives during a step joins the
step after the next one; seats and blocks of a request that ends are free one step later.
"""

from __future__ import annotations

from math import inf

from llmsim.engine.ahead import StatesAhead
from llmsim.engine.loop import Loop
from llmsim.engine.stretch import Stretch
from llmsim.request import Request
from llmsim.scheduler import Decision


class AsyncLoop(Loop):
    """Takes the steps of one instance, and decides each while the one before it runs."""

    states: StatesAhead

    __slots__ = ()

    def act(self) -> None:
        """Count the tokens of the step that starts now, end what ended with the one before, decide the next one."""
        states, stretch = self.states, self.stretch
        states.now_s = self.due_s
        handovers = states.land_later()
        if stretch is None:
            states.nothing_in_flight()
        elif stretch.end_s <= states.in_flight.until_s:
            self._count(stretch)
        else:
            self._cut_off(stretch)
            stretch = None
        self._land(handovers)
        if self.cancelled:
            self._drop_cancelled()
        if states.in_flight.over:
            self.due_s = inf
        elif not self._decode_on():
            self._ask_and_compute()
        if stretch is not None:
            self._note(stretch)
            if self._on_tokens is not None:
                self._on_tokens(stretch, states.in_flight.tokens)

    def _count(self, stretch: Stretch) -> None:
        """Count the tokens of steps as emitted, of which the last one starts now."""
        states, now_s = self.states, self.states.now_s
        states.start(stretch)
        states.now_s = stretch.end_s
        self._emit(stretch)
        states.now_s = now_s
        self.journal.stretches.pop()  # noted when it is known what the instance holds while the last one runs

    def _note(self, stretch: Stretch) -> None:
        states, memory = self.states, self.states.memory
        stretch.kv_blocks_used = memory.total_blocks - memory.free_blocks
        stretch.waiting, stretch.running = len(states.waiting), len(states.running)
        self.journal.stretches.append(stretch)

    def _land(self, handovers: dict[int, Request]) -> None:
        """Finish and hand over the requests whose latest token has been emitted by now."""
        self.states.land()
        for request in handovers.values():
            self._hand_over(request)

    def _cut_off(self, stretch: Stretch) -> None:
        """The last of these steps does not end within the run: emit the tokens of the others, and act no more.

        A batch that can't start before the end of the run is not decided.
        """
        self.states.in_flight.over = True
        self.stretch = None
        stretch.cut(stretch.steps - 1)
        if stretch.steps:
            self._emit(stretch)
        self.states.nothing_in_flight()

    def _decode_on(self) -> bool:
        """Decode without asking the scheduler, if it is clear what it would say; return whether."""
        states = self.states
        batch, in_flight, free_blocks = states.batch, states.in_flight, states.memory.free_blocks
        if states.waiting or states.prefilling or states.held or not (self._decodes_by_itself and batch.sequences):
            return False
        steps = batch.blocks_needed() <= free_blocks if in_flight.pending else batch.steps_ahead(free_blocks)
        if not steps:
            return False
        self._begin(self.step_times.decode(max(states.now_s, in_flight.ends_s), int(steps)))
        return True

    def _compute(self, decision: Decision | None) -> None:
        """Plan the steps after the one that has just started, if there is anything to compute."""
        in_flight, now_s = self.states.in_flight, self.states.now_s
        start_s = max(now_s, in_flight.ends_s)
        stretch = None
        if decision is not None:
            stretch = self.step_times.plan(decision, start_s, single=in_flight.pending)
        if stretch is not None:
            if decision is not None and decision.review_at_s is not None:
                stretch.cut(min(self.steps_up_to(stretch, decision.review_at_s, arriving=True), stretch.steps))
            self._begin(stretch)
            return
        self.stretch = None
        self.due_s = start_s if start_s > now_s else self._review_s(decision)

    def _begin(self, stretch: Stretch) -> None:
        """Let steps be the next ones; act when the last of them starts."""
        self.stretch = stretch
        self.due_s = stretch.step_end_s(stretch.steps - 1)

    def interrupt(self, now_s: float, arriving: bool) -> None:
        """Be due when the step under way ends; `arriving`: a boundary at this very time is yet to come."""
        stretch = self.stretch
        if self.states.in_flight.over:
            return
        if stretch is None:
            due_s = max(now_s, self.states.in_flight.ends_s)
        else:
            steps = 1 if stretch.steps == 1 else self.steps_up_to(stretch, now_s, arriving)
            if steps >= stretch.steps:
                return
            stretch.cut(steps)
            due_s = stretch.step_end_s(steps - 1)
        self._act_by(due_s)

    def steps_up_to(self, stretch: Stretch, time_s: float, arriving: bool) -> int:
        """How many steps there are up to the one that starts at the first boundary after a time.

        `arriving`: or at it. Two boundaries coincide where steps begin on an idle GPU: the first two are decided then.
        """
        start_s = stretch.step_end_s(0)
        if time_s == start_s == self.states.now_s:
            arriving = arriving or not self.alarm.passed
        if time_s < start_s or (arriving and time_s == start_s):
            return 1
        return (stretch.ended_before(time_s) if arriving else stretch.ended_by(time_s)) + 2

    def end_at(self, until_s: float) -> None:
        """Note when the run will end: no tokens are counted that leave later."""
        self.states.in_flight.until_s = until_s

    def stop(self, until_s: float) -> None:
        """End the run: emit the tokens of the steps that ended by `until_s`."""
        states, stretch = self.states, self.stretch
        self.cancelled.clear()
        handovers, states.now_s = states.land_later(), states.in_flight.ends_s
        if stretch is not None:
            stretch.cut(stretch.ended_by(until_s))
        if stretch is None or not stretch.steps:
            states.nothing_in_flight()
            self._land(handovers)
            return
        self._count(stretch)
        self._land(handovers)
        self._note(stretch)
        states.now_s = stretch.end_s
        states.nothing_in_flight()
        self._land(states.land_later())
