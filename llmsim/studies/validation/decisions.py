"""Has our engine decide what a real scheduler has decided, and finds where the two part."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple

import numpy as np

from llmsim.cluster import InstanceSpec, RunOptions, simulate
from llmsim.record import Record
from llmsim.request import RequestView
from llmsim.routers.round_robin import RoundRobin
from llmsim.scheduler import Around, Decision, InstanceView, Scheduler
from llmsim.studies.validation.decision_runs import TICK_S, AnyStep, Fate, Step, VllmRun
from llmsim.workload.asked import exactly


class Noting(Around, Generic[AnyStep]):
    """Passes a scheduler through, and notes what each of its decisions means for the step that follows."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self.asks_every_step = True
        self.steps: list[AnyStep] = []
        self.found: dict[int, list[int]] = {}  #: request -> tokens found cached at each admission

    def schedule(self, view: InstanceView) -> Decision:
        """Ask, and note."""
        decision = self.scheduler.schedule(view)
        self.steps.append(self._step(view, decision))
        return decision

    @abstractmethod
    def _step(self, view: InstanceView, decision: Decision) -> AnyStep:
        """The step that follows a decision, in the words of an engine; note what was found cached."""


class WatchedVllm(Noting[Step]):
    """Notes steps of vLLM's scheduler; their ends, and what finishes then, are not known yet."""

    def _step(self, view: InstanceView, decision: Decision) -> Step:
        running = {request.id: request for request in view.running}
        chunks = {id: tokens for id, tokens in decision.prefill.items() if id in running}
        taken = sum(_blocks(view, running[id], running[id].computed_tokens, n) for id, n in chunks.items())
        admission = view.admission(chunks)
        admitted = []
        for request in [request for request in view.waiting if request.id in decision.prefill]:
            cached, in_use = admission.found(request)
            admission.add(request, decision.prefill[request.id])
            taken += view.blocks_for(cached + decision.prefill[request.id]) - in_use
            admitted.append([request.id, cached])
            self.found.setdefault(request.id, []).append(cached)
        out = {*decision.preempt, *decision.hold}
        decode = [request for request in running.values() if not (request.tokens_to_prefill or request.id in out)]
        taken += sum(map(view.blocks_to_decode, decode))
        freed = view.blocks_freed([running[id] for id in decision.preempt])
        return Step(
            start=round(view.now_s / TICK_S),
            end=0,
            prefill=[[id, tokens] for id, tokens in decision.prefill.items()],
            decode=sorted(request.id for request in decode) if decision.decode else [],
            preempted=list(decision.preempt),
            admitted=admitted,
            blocks_used=view.total_blocks - view.free_blocks - freed + taken,
            waiting=view.num_waiting - len(admitted) + len(decision.preempt),
            running=view.num_running + len(admitted) - len(decision.preempt),
            finished=[],
        )


def _blocks(view: InstanceView, request: RequestView, computed: int, tokens: int) -> int:
    return view.blocks_for(computed + tokens) - view.blocks_held(request)


class Difference(NamedTuple):
    """The first thing in which two runs differ."""

    where: str  #: which step or request
    what: str  #: the field
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.where}: {self.what} is {self.theirs}, ours {self.ours}"


@dataclass(frozen=True, eq=False)
class Agreement:
    """How one workload went here and there."""

    run: VllmRun
    ours: list[Fate]
    steps: Difference | None  #: None: every step alike
    outcome: Difference | None  #: None: every request alike
    async_outcome: Difference | None  #: the same under asynchronous scheduling

    @property
    def first(self) -> Difference | None:
        """What is to be looked at first."""
        return self.steps or self.outcome or self.async_outcome


def compare_run(run: VllmRun, spec: InstanceSpec) -> Agreement:
    """Replay a workload in both modes, step by step and in stretches; compare every step and every request."""
    watched = WatchedVllm(spec.scheduler)
    steps = _serve(run, replace(spec, scheduler=watched), stretches=False)
    difference = first_difference(run.steps, _with_ends(watched.steps, steps), "step", Step._fields)
    fates = fates_of(steps, watched.found)
    outcome = _outcome(run, spec, run.outcome, fates, watched, "request")
    spec = replace(spec, async_scheduling=True)
    watched = WatchedVllm(spec.scheduler)
    ahead = fates_of(_serve(run, replace(spec, scheduler=watched), stretches=False), watched.found)
    return Agreement(
        run, fates, difference, outcome, _outcome(run, spec, run.async_outcome, ahead, watched, "asynchronous, request")
    )


def _outcome(
    run: VllmRun, spec: InstanceSpec, theirs: Sequence[Fate], ours: Sequence[Fate], watched: WatchedVllm, row: str
) -> Difference | None:
    """Compare requests served step by step; where they agree, those served in stretches must agree, too."""
    difference = first_difference(theirs, ours, row, Fate._fields)
    if difference is not None:
        return difference
    in_stretches = fates_of(_serve(run, spec, stretches=True), watched.found)
    return first_difference(theirs, in_stretches, f"in stretches, {row}", Fate._fields)


def _serve(run: VllmRun, spec: InstanceSpec, stretches: bool) -> Record:
    """Serve requests whose clients say how long outputs will be, as there is no end-of-sequence token in these runs."""
    requests = replace(run.workload, asked=exactly(run.workload.output_tokens))
    return simulate(requests, [spec], RoundRobin(), np.random.default_rng(0), RunOptions(stretches=stretches))


def _with_ends(steps: list[Step], record: Record) -> list[Step]:
    """Add when each step ended, and which requests with it; one that schedules nothing takes no time."""
    end_of = dict(zip(_ticks(record.steps["start_s"]), _ticks(record.steps["end_s"]), strict=True))
    finished: dict[int, list[int]] = {}
    for id, end in enumerate(_ticks(record.requests["end_s"])):
        finished.setdefault(end, []).append(id)
    ended = []
    for step, after in zip(steps, [*steps[1:], None], strict=True):
        if after is not None and after.start == step.start:
            ended.append(step._replace(end=step.start))
        else:
            end = end_of.get(step.start, step.start)
            ended.append(step._replace(end=end, finished=finished.get(end, [])))
    return ended


def fates_of(record: Record, found: dict[int, list[int]]) -> list[Fate]:
    """What became of each request, in order of its number."""
    requests = record.requests
    times = (_ticks(requests[name]) for name in ("first_scheduled_s", "first_token_s", "end_s"))
    hits = (found.get(id, []) for id in range(len(requests["end_s"])))
    return [Fate(*fate) for fate in zip(*times, requests["preemptions"].tolist(), hits, strict=True)]


def _ticks(times_s: Any) -> list[int]:
    """Whole ticks; -1 for what never came to be."""
    ticks: list[int] = np.nan_to_num(np.rint(np.asarray(times_s) / TICK_S), nan=-1).astype(np.int64).tolist()
    return ticks


def first_difference(
    theirs: Sequence[tuple[Any, ...]], ours: Sequence[tuple[Any, ...]], row: str, fields: Sequence[str]
) -> Difference | None:
    """Compare rows field by field, and then how many there are."""
    for number, (one, other) in enumerate(zip(theirs, ours, strict=False)):
        for field, expected, got in zip(fields, one, other, strict=True):
            if expected != got:
                return Difference(f"{row} {number}", field, expected, got)
    if len(theirs) != len(ours):
        return Difference(f"all {row}s", "number", len(theirs), len(ours))
    return None
