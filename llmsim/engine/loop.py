"""THE MAIN LOOP of llmsim, of one engine instance: `Loop.serve` and `Loop.act`. Read these first.

An instance emits (tokens leave the GPU), decides (asks its scheduler) and computes (lets time pass). A step is atomic:
what arrives during a step waits for its end. While a decision stands and all requests just decode, the next steps are
known in advance; they are taken together as one *stretch*, which costs one event. An arrival cuts the stretch at the
next step boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isnan

from llmsim import guests
from llmsim.engine.clock import Alarm
from llmsim.engine.decision_types import shortened, wrong_type
from llmsim.engine.exchange import Exchange
from llmsim.engine.journal import Journal
from llmsim.engine.request_states import RequestStates
from llmsim.engine.step_times import StepTimes
from llmsim.engine.stretch import Stretch
from llmsim.engine.view import View
from llmsim.errors import PolicyError
from llmsim.request import Outcome, Request, RequestView
from llmsim.scheduler import DECODE, Decision, Scheduler

#: decisions in a row that preempt, or that nothing follows from, without any progress: a policy goes round in circles
MOST_DECISIONS_IN_VAIN = 100_000
#: of a decision: all but whether to prefill and to decode, which nearly always is as in `DECODE`
BESIDES = slice(2, None)
NOTHING_BESIDES = DECODE[BESIDES]


class Loop:
    """Takes the steps of one instance, one after another."""

    stretch: Stretch | None  #: the steps under way; None: idle
    due_s: float  #: when to act next
    report_due_s: float  #: from then on, a report must be written before anything changes
    _decodes_by_itself: bool  #: whether the scheduler need not be asked while all requests just decode

    def serve(self) -> None:
        """Act, which is due now, and have the alarm ring when that is due next: an event each time."""
        if self.due_s >= self.report_due_s:
            self.on_report_due()
        self.acting = True
        self.act()
        self.acting = False
        self.alarm.set(self.due_s)

    def act(self) -> None:
        """Emit the tokens of the steps that end now, decide, and compute the next steps."""
        stretch = self.stretch
        self.states.now_s = self.due_s
        if stretch is not None:
            if self._on_tokens is not None:
                self._on_tokens(stretch, _tokens(stretch))
            self._emit(stretch)
        if self.cancelled:
            self._drop_cancelled()
        if not self._decode_on():
            self._ask_and_compute()

    def _emit(self, stretch: Stretch) -> None:
        """Let the tokens of the steps that have ended leave the GPU."""
        states, journal = self.states, self.journal
        memory = states.memory
        stretch.kv_blocks_used = memory.total_blocks - memory.free_blocks
        stretch.waiting = len(states.waiting)
        stretch.running = len(states.running)
        journal.stretches.append(stretch)
        self._view.worked_until_s = stretch.end_s
        self.stretch = None  # a router that is asked because a request finishes sees these steps as taken
        if stretch.decoding:
            states.line = stretch
            journal.decisions_in_vain = 0
            states.last_decode_s = stretch.end_s
            done = states.batch.advance(stretch.steps)
            if done:
                states.finish_in_order(done)
        if stretch.prefill:
            states.line = None
            # each token has had an equal share of the GPUs
            took_s = stretch.end_s - stretch.anchor_s
            token_gpu_s = took_s * self.step_times.gpus / (stretch.prefill_tokens + stretch.decoding + stretch.drafted)
            exchange = self.exchange
            sends = exchange is not None and exchange.sends
            for request, tokens in stretch.prefill:
                if states.complete_chunk(request, tokens, token_gpu_s, sends):
                    self._hand_over(request)

    def _hand_over(self, request: Request) -> None:
        """Let another instance decode a request whose prefill is complete."""
        assert self.exchange is not None
        self.states.hand_over(request)
        self.exchange.hand_over(request)

    def _decode_on(self) -> bool:
        """Decode without asking the scheduler, if it is clear what it would say; return whether."""
        states = self.states
        if states.waiting or states.prefilling or not self._decodes_by_itself or states.held:
            return False
        batch = states.batch
        steps = batch.steps_ahead(states.memory.free_blocks) if batch.sequences else 0
        if not steps:
            return False
        stretch = self.stretch = self.step_times.decode(states.now_s, steps)
        self.due_s = stretch.end_s
        return True

    def _ask_and_compute(self) -> None:
        """Ask the scheduler, if there is anything to schedule, and do as it says.

        `PolicyError` with the time for whatever it raises, and for what it returns instead of a decision.
        """
        if self.exchange is not None:
            self.exchange.settle()
        states = self.states
        if not (states.waiting or states.running):
            self._compute(None)
            return
        try:
            decision = self.scheduler.schedule(self._view.updated(states))
        except BaseException as error:
            raise guests.blamed(error, states.place(), PolicyError) from error
        if decision.__class__ is not Decision and not isinstance(decision, Decision):
            raise states.wrong(f"decided {shortened(decision)}, expected a Decision")
        try:
            # notes may be anything, things that cannot be compared among them
            if decision.notes is not None or decision[BESIDES] != NOTHING_BESIDES or states.held:
                decision = self._carry_out(decision)
            self._compute(decision)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            if (what := wrong_type(decision)) is None:
                raise
            raise states.wrong(what) from error

    def _count_in_vain(self) -> None:
        """Note that a decision preempts, or that nothing follows from it; `PolicyError` if there are too many."""
        self.journal.decisions_in_vain += 1
        if self.journal.decisions_in_vain <= MOST_DECISIONS_IN_VAIN:
            return
        states = self.states
        raise states.wrong(
            f"{MOST_DECISIONS_IN_VAIN:,} decisions without a token, an end or new prefill of any request; "
            f"{len(states.running)} run and {len(states.waiting)} wait"
        )

    def _carry_out(self, decision: Decision) -> Decision:
        """Note what is decided beside prefill and decoding, and move requests, before any time passes."""
        states = self.states
        if decision.notes is not None:
            self._view.notes = decision.notes
        if decision.looked_up:
            states.look_up(decision)
        if decision.abandon or decision.preempt or decision.hold or states.held or decision.drafts:
            states.carry_out(decision)
        if decision.preempt:
            self._count_in_vain()
        if decision.preempt and states.cache is not None:  # victims that share blocks may need less than they gave
            return decision._replace(review_at_s=states.now_s)
        return decision

    def _compute(self, decision: Decision | None) -> None:
        """Start the next steps, if there is anything to compute."""
        now_s = self.states.now_s
        stretch = self.stretch = None if decision is None else self.step_times.plan(decision, now_s)
        if stretch is None:
            self.due_s = self._review_s(decision)
            return
        if stretch.steps > 1 and decision is not None and decision.review_at_s is not None:
            stretch.cut(min(stretch.ended_before(decision.review_at_s) + 1, stretch.steps))
        self.due_s = stretch.end_s

    def _review_s(self, decision: Decision | None) -> float:
        """When to ask again if nothing follows from a decision and nothing happens."""
        if decision is None:
            return inf
        now_s, review_s = self.states.now_s, decision.review_at_s
        if review_s is not None and isnan(review_s):
            raise self.states.wrong("decided review_at_s = nan, expected a time")
        self._count_in_vain()
        if decision.abandon or decision.preempt:
            return now_s  # things have changed: ask again at once
        return inf if review_s is None or review_s <= now_s else review_s

    # Set up ------------------------------------------------------------------------------------------------

    __slots__ = (
        "_decodes_by_itself",
        "_on_tokens",
        "_view",
        "acting",
        "alarm",
        "cancelled",
        "due_s",
        "exchange",
        "journal",
        "on_report_due",
        "report_due_s",
        "scheduler",
        "states",
        "step_times",
        "stretch",
    )

    def __init__(
        self,
        alarm: Alarm,
        scheduler: Scheduler,
        view: View,
        states: RequestStates,
        step_times: StepTimes,
        journal: Journal,
        *,
        on_tokens: Callable[[Stretch, int], None] | None = None,
        asks_every_step: bool,
    ) -> None:
        self.alarm = alarm
        self.scheduler = scheduler
        self.states = states
        self.step_times = step_times
        self.journal = journal
        self.exchange: Exchange | None = None  #: with other instances, in a disaggregated cluster
        self.stretch = None
        self.due_s = inf
        self.cancelled: list[int] = []  #: ids of requests to be taken out at the next step boundary
        self.acting = False  #: whether this is the turn of the instance: what it holds is about to change
        self.report_due_s = inf
        self.on_report_due: Callable[[], None] = _no_report
        self._view = view
        self._on_tokens = on_tokens  # told of steps whose tokens leave, and how many the last one has
        schedule = type(scheduler).schedule
        self._decodes_by_itself = getattr(schedule, "decodes_by_itself", None) is schedule and not asks_every_step

    def connect(self, exchange: Exchange) -> None:
        """Take part in a disaggregated cluster: what comes from elsewhere is settled at each decision."""
        self.exchange = exchange
        self._decodes_by_itself = False

    def end_at(self, until_s: float) -> None:
        """Note when the run will end: of no matter to a loop that looks no further than to the end of a step."""

    # Interrupted -------------------------------------------------------------------------------------------

    def interrupt(self, now_s: float, arriving: bool) -> None:
        """Be due at the next step boundary; `arriving`: a boundary at this very time is yet to come."""
        stretch, due_s = self.stretch, now_s
        if stretch is not None:
            if stretch.steps == 1:
                return
            ended = stretch.ended_before(now_s) if arriving else stretch.ended_by(now_s)
            if ended + 1 >= stretch.steps:
                return
            due_s = stretch.cut(ended + 1)
        self._act_by(due_s)

    def _act_by(self, due_s: float) -> None:
        """Be due at a time, if not earlier anyway."""
        if due_s < self.due_s:
            self.due_s = due_s
            if self.alarm.call is not None:
                self.alarm.set(due_s)

    def stop(self, until_s: float) -> None:
        """End the run: emit the tokens of the steps that ended by `until_s`."""
        self.cancelled.clear()  # they were to leave at the end of a step that is cut off
        if self.stretch is not None:
            self.stretch.cut(self.stretch.ended_by(until_s))
            if self.stretch.steps:
                self.states.now_s = self.stretch.end_s
                self._emit(self.stretch)

    def accepts(self, request: RequestView, now_s: float) -> bool:
        """Whether the scheduler would accept a request, as of the latest step boundary, or now if no step is under way.

        As of the latest decision where steps are taken together.
        """
        view = self._view.updated(self.states)
        if self.stretch is None:
            view.now_s = now_s
        return self.scheduler.accepts(request, view)

    def _drop_cancelled(self) -> None:
        states = self.states
        for id in self.cancelled:
            request = states.get(id)
            if request is not None:
                states.drop(request, Outcome.CANCELLED)
            elif self.exchange is not None:
                request = self.exchange.drop(id)
                if request is not None:
                    states.end(request, Outcome.CANCELLED, states.now_s)
        self.cancelled.clear()


def _tokens(stretch: Stretch) -> int:
    """How many tokens leave when the last of these steps ends."""
    return stretch.decoding + sum(tokens == request.tokens_to_prefill for request, tokens in stretch.prefill)


def _no_report() -> None:
    pass
