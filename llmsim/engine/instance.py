"""One engine instance as a cluster knows it: it takes requests in, and answers questions. Its main loop: loop.py.

*Lazy mode.* If no router, user or gateway depends on an instance's state between arrivals, it schedules no SimPy
events. Arrivals are buffered in an inbox, and `advance_to` simulates them in one go, with identical results. Otherwise
the instance is *eager*: its alarm rings at each of its step boundaries where something may change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from llmsim import guests
from llmsim.engine.ahead import StatesAhead, ViewAhead
from llmsim.engine.async_loop import AsyncLoop
from llmsim.engine.between_steps import BetweenSteps, BetweenStepsAhead
from llmsim.engine.clock import Alarm, Clock
from llmsim.engine.decision_types import shortened
from llmsim.engine.decode_batch import Batch, DecodeBatch
from llmsim.engine.exchange import Exchange
from llmsim.engine.journal import Journal
from llmsim.engine.loop import Loop
from llmsim.engine.memory import KVMemory
from llmsim.engine.recorder import Recorder
from llmsim.engine.request_states import RequestStates
from llmsim.engine.speculation.ahead import SpeculatingStatesAhead, SpeculatingViewAhead
from llmsim.engine.speculation.batch import DrawsOf, SpeculativeBatch
from llmsim.engine.speculation.blocks import Reservation
from llmsim.engine.speculation.loop import AdaptingLoop, SpeculatingView
from llmsim.engine.speculation.rule import Speculation
from llmsim.engine.speculation.states import Speculating
from llmsim.engine.speculation.steps import SpeculativeStepTimes
from llmsim.engine.speculation.stepwise import SpeculativeListBatch, SpeculativeSingleSteps
from llmsim.engine.step_times import StepTimes
from llmsim.engine.stepwise import ListBatch, SingleSteps
from llmsim.engine.stretch import Stretch
from llmsim.engine.view import OnlyLimits, View
from llmsim.errors import PolicyError
from llmsim.latency.contract import LatencyModel
from llmsim.request import Outcome, Request, RequestView
from llmsim.scheduler import Scheduler
from llmsim.waiting import WaitingQueue

INBOX_SIZE = 64  #: lazy mode: number of buffered arrivals that triggers a catch-up


@dataclass(frozen=True, slots=True)
class Observers:
    """What is told of what instances do."""

    recorder: Recorder
    on_end: Callable[[int, Request], None]  #: called with the instance's number and a request that has ended there
    #: called with the instance's number, steps whose tokens were emitted, and how many tokens the last one has
    on_tokens: Callable[[int, Stretch, int], None] | None = None


class Kinds(NamedTuple):
    """What makes an engine schedule synchronously or asynchronously, and requests speculate or not."""

    states: type[RequestStates]
    view: Callable[[Any, int, LatencyModel], View]
    loop: type[Loop]
    between_steps: type[BetweenSteps]


#: whether steps are scheduled asynchronously, and whether requests speculate
KINDS = {
    (False, False): Kinds(RequestStates, View, Loop, BetweenSteps),
    (True, False): Kinds(StatesAhead, ViewAhead, AsyncLoop, BetweenStepsAhead),
    (False, True): Kinds(Speculating, SpeculatingView, Loop, BetweenSteps),
    (True, True): Kinds(SpeculatingStatesAhead, SpeculatingViewAhead, AsyncLoop, BetweenStepsAhead),
}


class Instance:
    """One model replica with its memory, queue and scheduler."""

    __slots__ = (
        "_between",
        "_inbox",
        "_limits",
        "_most_tokens",
        "_policy_may_refuse",
        "_reach",
        "clock",
        "eager",
        "journal",
        "loop",
        "max_model_len",
        "number",
        "states",
    )

    def __init__(
        self,
        clock: Clock,
        number: int,
        *,
        scheduler: Scheduler,
        latency: LatencyModel,
        memory: KVMemory,
        max_model_len: int,
        output_tokens: Sequence[int],
        observers: Observers,
        gpus: int = 1,
        stepwise: bool = False,
        asks_every_step: bool = False,
        async_scheduling: bool = False,
        speculation: Speculation | None = None,
        draws: DrawsOf | None = None,
    ) -> None:
        self.clock, self.number, self.max_model_len = clock, number, max_model_len
        self.eager = True
        self.journal = Journal(number, observers.recorder, observers.on_end)
        lag = int(async_scheduling)
        self._reach = 1 if speculation is None else speculation.reach(lag)
        asks_every_step = stepwise or asks_every_step or scheduler.asks_every_step
        kinds = _kinds(async_scheduling, speculation)
        batch, name = _batch(memory, speculation, lag, draws, stepwise), type(scheduler).__name__
        self.states = kinds.states(_queue_of(scheduler), memory, batch, self.journal, output_tokens, name)
        if speculation is not None:
            assert isinstance(self.states, Speculating)
            self.states.rule = speculation
            self.states.settle()
        self.loop = kinds.loop(
            Alarm(clock, number),
            scheduler,
            kinds.view(self.states, max_model_len, latency),
            self.states,
            _step_times(stepwise, speculation)(latency, self.states, asks_every_step=asks_every_step, gpus=gpus),
            self.journal,
            on_tokens=None if observers.on_tokens is None else partial(observers.on_tokens, number),
            asks_every_step=asks_every_step,
        )
        self._between = kinds.between_steps(self.loop)
        self._limits = OnlyLimits(
            memory.block_tokens, max_model_len, memory.total_blocks, caches_prefixes=self.states.cache is not None
        )
        self._policy_may_refuse = type(scheduler).why_never is not Scheduler.why_never
        #: prompt and output; the last token is emitted, never computed on
        self._most_tokens = min(max_model_len, memory.total_blocks * memory.block_tokens + 2 - self._reach)
        self._inbox: list[tuple[float, Request]] = []  # lazy mode: arrivals, with their times

    # Setting up, called by a cluster -----------------------------------------------------------------------

    def start(self, *, eager: bool, until_s: float) -> None:
        """Begin to serve, up to a time: with an event for each act, or lazily."""
        self.loop.end_at(until_s)
        self.eager = eager
        self.journal.begin(eager=eager)
        if eager:
            self.loop.alarm.call = self.loop.serve

    def connect(self, exchange: Exchange) -> None:
        """Take part in a disaggregated cluster."""
        self.loop.connect(exchange)

    def report_when_due(self, due_s: float, write: Callable[[], None]) -> None:
        """Call `write` before anything changes here from `due_s` on; it says when the next report is due."""
        self.loop.report_due_s = due_s
        self.loop.on_report_due = write

    def report_if_due(self, now_s: float) -> None:
        """Write a report that is due, before anything changes."""
        if now_s >= self.loop.report_due_s:
            self.loop.on_report_due()

    # Serving -----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request, or reject it with the reason why it can never be served."""
        now_s, loop = self.clock.now_s, self.loop
        if now_s >= loop.report_due_s:
            loop.on_report_due()
        reason = self.why_never(request)
        if reason is not None:
            self.reject(request, reason)
            self.journal.write()  # reasons are numbered as they come up
        elif self.eager:
            self.states.enqueue(request)
            self.reschedule()
        else:
            self._inbox.append((now_s, request))
            if len(self._inbox) == INBOX_SIZE:
                self.advance_to(now_s)

    def advance_to(self, time_s: float) -> None:
        """Lazy mode: do all that was due before `time_s`, with the arrivals since the last time."""
        loop, states = self.loop, self.states
        for submitted_s, request in self._inbox:
            while loop.due_s < submitted_s:
                loop.act()
            states.enqueue(request)
            loop.interrupt(submitted_s, True)
        self._inbox.clear()
        while loop.due_s < time_s:
            loop.act()
        self.journal.write()

    def cancel(self, id: int) -> None:
        """Take a request out at the next step boundary: its user has left."""
        self.loop.cancelled.append(id)
        self.reschedule()

    def reschedule(self) -> None:
        """Decide anew at the next step boundary: something has changed."""
        self.loop.interrupt(self.clock.now_s, arriving=self.loop.alarm.yet_to_come)

    def reject(self, request: Request, reason: str) -> None:
        """End a request that can never be served here."""
        self.states.end(request, Outcome.REJECTED, self.clock.now_s, reason)

    def stop(self, until_s: float) -> None:
        """End the run: emit the tokens of the steps that ended by `until_s`."""
        self.loop.stop(until_s)

    def close(self, until_s: float) -> None:
        """When all instances have stopped: count all requests still here as unfinished."""
        states, exchange = self.states, self.exchange
        for request in [*states.running.values(), *states.waiting.values()]:
            states.withdraw(request)
            states.end(request, Outcome.UNFINISHED, until_s)
        for request in exchange.close() if exchange is not None else ():
            states.end(request, Outcome.UNFINISHED, until_s)
        self.journal.write()

    # Questions ---------------------------------------------------------------------------------------------

    @property
    def exchange(self) -> Exchange | None:
        """What it has to do with other instances; None where a cluster is not disaggregated."""
        return self.loop.exchange

    @property
    def most_running(self) -> int | None:
        """Most requests that its scheduler lets run at once; None: no such limit."""
        return self.loop.scheduler.most_running

    @property
    def latency(self) -> LatencyModel:
        """How long its steps take."""
        return self.loop.step_times.latency

    @property
    def total_blocks(self) -> int:
        """KV blocks, free or not."""
        return self.states.memory.total_blocks

    @property
    def num_waiting(self) -> int:
        """Requests in its queue, and those that were computed elsewhere and wait for memory here."""
        exchange = self.loop.exchange
        return len(self.states.waiting) + (0 if exchange is None else len(exchange.offered))

    def last_token_s(self, request: Request) -> float:
        """When the latest token of a request was emitted, up to now; NaN if there is none."""
        return self._between.last_token_s(request)

    def cached_tokens(self, request: RequestView) -> int:
        """Tokens that a request would find in the prefix cache if it were admitted now."""
        return self._between.cached_tokens(request)

    def accepts(self, request: RequestView) -> bool:
        """Whether its scheduler would accept a request, and not decline it, as of its latest step boundary."""
        return self.loop.accepts(request, self.clock.now_s)

    def free_blocks(self, before_s: float | None = None) -> int:
        """KV blocks that are free now, or were before a time since which nothing but decode steps happened."""
        return self._between.free_blocks(before_s)

    def why_never(self, request: Request) -> str | None:
        """Return why a request can never be served here, or None."""
        tokens = request.prompt_tokens + self.states.output_tokens[request.id]
        if tokens <= self._most_tokens:
            return self._policy_refuses(request) if self._policy_may_refuse else None
        if tokens > self.max_model_len:
            return f"prompt and output are {tokens} tokens, max_model_len is {self.max_model_len}"
        memory = self.states.memory
        return f"needs {memory.blocks_for(tokens - 2 + self._reach)} KV blocks, the instance has {memory.total_blocks}"

    def _policy_refuses(self, request: Request) -> str | None:
        """Return why the scheduler can never serve a request, or None."""
        scheduler = self.loop.scheduler
        try:
            reason = scheduler.why_never(request, self._limits)
        except BaseException as error:
            raise guests.blamed(error, self._asked(request), PolicyError) from error
        if not (reason is None or isinstance(reason, str)):
            raise PolicyError(f"{self._asked(request)}: {shortened(reason)}, expected a text, or None")
        return reason

    def _asked(self, request: Request) -> str:
        name = type(self.loop.scheduler).__name__
        return f"{name} at t={self.clock.now_s:.6f} s, why_never of request {request.id}"


def _kinds(async_scheduling: bool, speculation: Speculation | None) -> Kinds:
    kinds = KINDS[async_scheduling, speculation is not None]
    if speculation is not None and speculation.changes:  # which does not go with asynchronous scheduling (build.py)
        return kinds._replace(loop=AdaptingLoop)
    return kinds


def _batch(memory: KVMemory, speculation: Speculation | None, lag: int, draws: DrawsOf | None, stepwise: bool) -> Batch:
    if speculation is None:
        return ListBatch(memory) if stepwise else DecodeBatch(memory)
    reservation = Reservation(speculation.reach(lag), lag, drawn=draws is not None)
    return (SpeculativeListBatch if stepwise else SpeculativeBatch)(memory, reservation, draws)


def _step_times(stepwise: bool, speculation: Speculation | None) -> type[StepTimes]:
    if speculation is None:
        return SingleSteps if stepwise else StepTimes
    return SpeculativeSingleSteps if stepwise else SpeculativeStepTimes


def _queue_of(scheduler: Scheduler) -> WaitingQueue:
    """Take a new queue from a scheduler; `PolicyError` where it raises, or returns something else."""
    place = f"{type(scheduler).__name__}, new_queue"
    try:
        queue = scheduler.new_queue()
        empty = len(queue) == 0 and not list(queue.values())
    except BaseException as error:
        raise guests.blamed(error, place, PolicyError) from error
    if not empty:
        raise PolicyError(f"{place}: {shortened(queue)}, expected an empty queue")
    return queue
