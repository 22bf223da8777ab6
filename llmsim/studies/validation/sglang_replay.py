"""Has our engine decide what SGLang's own scheduler has decided, and finds where the two part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmsim.cluster.build import build_cluster
from llmsim.cluster.cluster import Cluster
from llmsim.cluster.spec import InstanceSpec, RunOptions
from llmsim.engine.radix_cache import RadixCache
from llmsim.latency.contract import Chunk, LatencyModel, Line
from llmsim.record import Record
from llmsim.routers.round_robin import RoundRobin
from llmsim.scheduler import Decision, InstanceView, Scheduler
from llmsim.schedulers.sglang import Notes, Sglang
from llmsim.studies.validation.decision_runs import TICK_S, Fate
from llmsim.studies.validation.decisions import Difference, Noting, fates_of, first_difference
from llmsim.studies.validation.sglang_runs import Batch, SglangRun, Step

DIGITS = 9  #: of new_token_ratio


def scheduler_of(run: SglangRun) -> Sglang:
    """A scheduler with the settings of a run."""
    return Sglang(
        chunked_prefill_size=run.settings.chunked_prefill_size,
        max_prefill_tokens=run.settings.max_prefill_tokens,
        max_running_requests=run.settings.max_running_requests,
        schedule_policy=run.settings.schedule_policy,
        schedule_conservativeness=run.settings.schedule_conservativeness,
    )


def spec_of(run: SglangRun, scheduler: Scheduler) -> InstanceSpec:
    """An instance with the settings of a run."""
    settings = run.settings
    return InstanceSpec(
        scheduler,
        run.latency,
        num_gpu_blocks=settings.kv_tokens // settings.page_size,
        max_model_len=settings.kv_tokens,
        block_tokens=settings.page_size,
        prefix_caching=settings.radix_cache,
    )


class WatchedSglang(Noting[Step]):
    """Notes steps of SGLang's scheduler; what is known once the memory is taken, or at their ends, is missing."""

    scheduler: Sglang

    def _step(self, view: InstanceView, decision: Decision) -> Step:
        under_way = [request.id for request in view.prefilling]
        new = [request for request in view.waiting if request.id in decision.prefill]
        cached = {request.id: view.cached_tokens(request) for request in new}
        for id, tokens in cached.items():
            self.found.setdefault(id, []).append(tokens)
        waiting = {request.id: request for request in [*view.prefilling, *new]}
        left = {id: waiting[id].tokens_to_prefill - cached.get(id, 0) - n for id, n in decision.prefill.items()}
        decoding = [r.id for r in view.running if not (r.id in under_way or view.rests(r))]
        stay = list(decision.order) or decoding
        notes = decision.notes
        assert isinstance(notes, Notes)
        decays = not (decision.prefill or decision.preempt)
        return Step(
            start=round(view.now_s / TICK_S),
            end=0,
            prefill=[[id, tokens] for id, tokens in decision.prefill.items()],
            decode=stay if decision.decode else [],
            retracted=list(decision.preempt),
            admitted=[[id, cached[id]] for id in decision.prefill if id in cached],
            held_tokens=0,
            cached_tokens=0,
            waiting=view.num_waiting - len(new) + len(decision.preempt),
            running=len(stay),
            chunked=next((id for id, tokens in left.items() if tokens), None),
            full=int(notes.full),
            ratio=round(self.scheduler.decayed(notes.ratio, int(decays)), DIGITS),
            finished=[],
        )


class Weighed(LatencyModel):
    """Passes a latency model through; when it is asked, a decision has been carried out: notes how memory is then."""

    def __init__(self, latency: LatencyModel, watched: WatchedSglang) -> None:
        self._latency = latency
        self._watched = watched
        self.cluster: Cluster | None = None

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Ask, and note."""
        self._weigh(decoding)
        return self._latency.step_time_s(prefill, decoding, context_tokens)

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Ask, and note."""
        self._weigh(decoding)
        return self._latency.decode_line(decoding, context_tokens)

    def _weigh(self, decoding: int) -> None:
        assert self.cluster is not None
        memory = self.cluster.instances[0].states.memory
        cached = 0
        if isinstance(memory, RadixCache):
            memory.evict_ahead(decoding)  # what the step takes, it takes at its end
            cached = memory.idle_blocks
        held = memory.total_blocks - memory.free_blocks + decoding
        steps = self._watched.steps
        steps[-1] = steps[-1]._replace(held_tokens=held, cached_tokens=cached)


@dataclass(frozen=True, eq=False)
class Agreement:
    """How one workload went here and there."""

    run: SglangRun
    steps: Difference | None  #: None: every step alike
    outcome: Difference | None  #: None: every request alike
    overlap_batches: Difference | None  #: the same with the overlap schedule
    overlap_outcome: Difference | None
    ours: list[Fate]  #: with the overlap schedule

    @property
    def first(self) -> Difference | None:
        """What is to be looked at first."""
        return self.steps or self.outcome or self.overlap_batches or self.overlap_outcome


def compare_run(run: SglangRun) -> Agreement:
    """Replay a workload step by step, and once more in stretches, both synchronous and with the overlap schedule."""
    steps, outcome, _ = _compared(run, overlap=False)
    batches, overlap_outcome, fates = _compared(run, overlap=True)
    return Agreement(run, steps, outcome, batches, overlap_outcome, fates)


def _compared(run: SglangRun, *, overlap: bool) -> tuple[Difference | None, Difference | None, list[Fate]]:
    """Where steps, and where outcomes, first differ; and our outcome."""
    scheduler = scheduler_of(run)
    spec = replace(spec_of(run, scheduler), async_scheduling=overlap)
    watched = WatchedSglang(scheduler)
    weighed = Weighed(run.latency, watched)
    cluster = _cluster(run, replace(spec, scheduler=watched, latency=weighed), stretches=False)
    weighed.cluster = cluster
    record = cluster.run(None)
    fates = fates_of(record, watched.found)
    in_stretches = fates_of(_cluster(run, spec, stretches=True).run(None), watched.found)
    theirs = run.overlap_outcome if overlap else run.outcome
    outcome = first_difference(theirs, fates, "request", Fate._fields)
    if outcome is None:  # then the fast path must say the same
        outcome = first_difference(theirs, in_stretches, "in stretches, request", Fate._fields)
    if overlap:
        ours = _batches(watched.steps, record)
        return first_difference(run.overlap_batches, ours, "batch", Batch._fields), outcome, fates
    told = _told(run.steps, watched.steps, record)
    return first_difference(run.steps, told, "step", Step._fields), outcome, fates


def _cluster(run: SglangRun, spec: InstanceSpec, stretches: bool) -> Cluster:
    return build_cluster(run.workload, [spec], RoundRobin(), np.random.default_rng(0), RunOptions(stretches=stretches))


def _told(theirs: Sequence[Step], ours: Sequence[Step], record: Record) -> list[Step]:
    """Add what is known at the end of each step, and leave out what SGLang's does not tell."""
    end_of = dict(zip(_ticks(record.steps["start_s"]), _ticks(record.steps["end_s"]), strict=True))
    finished: dict[int, list[int]] = {}
    for id, end in enumerate(_ticks(record.requests["end_s"])):
        finished.setdefault(end, []).append(id)
    steps = [step._replace(end=end_of.get(step.start, step.start)) for step in ours]
    steps = [step._replace(finished=finished.get(step.end, [])) for step in steps]
    untold = {number for number, step in enumerate(theirs) if step.ratio is None}
    return [step._replace(ratio=None) if number in untold else step for number, step in enumerate(steps)]


def _batches(formed: Sequence[Step], record: Record) -> list[Batch]:
    """Put together when each batch was decided, and when it ran."""
    steps = record.steps
    times = _ticks(steps["start_s"]), _ticks(steps["end_s"])
    ran = sorted(zip(*times, steps["prefill_tokens"].tolist(), steps["decoding"].tolist(), strict=True))
    decided = [step for step in formed if step.prefill or step.decode]
    pairs = zip(decided, ran, strict=False)
    return [Batch._make((step.start, *row, len(step.retracted))) for step, row in pairs]


def _ticks(times_s: Any) -> list[int]:
    ticks: list[int] = np.rint(np.asarray(times_s) / TICK_S).astype(np.int64).tolist()
    return ticks
