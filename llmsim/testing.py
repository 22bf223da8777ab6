"""Checks for authors of policies, and for our own: a policy that passes them can be trusted in a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster import InstanceSpec, simulate
from llmsim.latency.contract import Chunk, LatencyModel
from llmsim.record import Record
from llmsim.request import Outcome
from llmsim.router import Router
from llmsim.routers.round_robin import RoundRobin
from llmsim.scheduler import Decision, InstanceView, Scheduler
from llmsim.workload.contract import Workload


@dataclass(frozen=True)
class LinearSteps(LatencyModel):
    """A step takes a constant, and so much per prefilled token, decoding sequence and token of context, in seconds."""

    step_s: float = 0.010
    prefill_token_s: float = 0.0001
    sequence_s: float = 0.0
    context_token_s: float = 0.0

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: int) -> float:
        """Add them up."""
        tokens = sum(tokens for _, tokens in prefill)
        return (
            self.step_s
            + self.prefill_token_s * tokens
            + self.sequence_s * decoding
            + self.context_token_s * context_tokens
        )


def workload(*requests: tuple[float, int, int]) -> Workload:
    """Build a workload from (arrival_s, prompt_tokens, output_tokens)."""
    arrival_s, prompt_tokens, output_tokens = zip(*requests, strict=True)
    return Workload(
        np.array(arrival_s, dtype=np.float64), np.array(prompt_tokens), np.array(output_tokens), "requests by hand"
    )


def serve(
    requests: Workload,
    scheduler: Scheduler,
    *,
    latency: LatencyModel | None = None,
    num_gpu_blocks: int = 1000,
    max_model_len: int = 100_000,
    instances: int = 1,
    router: Router | None = None,
    stretches: bool = True,
    until_s: float | None = None,
) -> Record:
    """Serve a workload on a small cluster and check the record."""
    spec = InstanceSpec(scheduler, latency or LinearSteps(), num_gpu_blocks, max_model_len)
    rng = np.random.default_rng(0)
    record = simulate(requests, [spec] * instances, router or RoundRobin(), rng, stretches=stretches, until_s=until_s)
    check_record(record)
    return record


def check_record(record: Record) -> None:
    """Raise AssertionError unless a record keeps what every record must keep."""
    requests, steps = record.requests, record.steps
    timelines = record.timelines()
    heads = ~np.isnan(timelines.head_s)
    emitted = np.bincount(timelines.request, timelines.count + heads, minlength=len(timelines))
    assert np.array_equal(emitted, requests["emitted_tokens"]), "token times and token counts differ"
    finished = requests["outcome"] == Outcome.FINISHED
    assert (emitted[finished] == requests["output_tokens"][finished]).all(), "finished without all tokens"
    assert (emitted <= requests["output_tokens"]).all(), "more tokens than asked for"
    assert (requests["end_s"] >= requests["arrival_s"]).all(), "ended before it arrived"
    rejected = requests["outcome"] == Outcome.REJECTED
    assert np.isnan(requests["first_scheduled_s"][rejected]).all(), "rejected, yet scheduled"
    for request in np.flatnonzero(emitted)[:1000]:
        times_s = timelines.token_times_s(request)
        assert times_s[0] > requests["first_scheduled_s"][request] >= requests["arrival_s"][request]
        assert (np.diff(times_s) > 0).all(), "tokens out of order"
        assert times_s[-1] <= requests["end_s"][request], "token after the end"
    decoded = np.sum(steps["steps"] * steps["decoding"])
    assert decoded == timelines.count.sum(), "tokens decoded and tokens emitted differ"
    _check_steps(record)
    _check_littles_law(record)


def _check_steps(record: Record) -> None:
    steps = record.steps
    for instance in range(len(record.step_ends_s)):
        own = steps["instance"] == instance
        start_s, end_s = steps["start_s"][own], steps["end_s"][own]
        assert (end_s > start_s).all(), "a step that takes no time"
        assert (start_s[1:] >= end_s[:-1]).all(), "steps overlap"
        assert (np.diff(record.step_ends_s[instance]) > 0).all(), "step ends out of order"


def _check_littles_law(record: Record) -> None:
    """Requests running, over time, equal the time that requests spend running: L = lambda W, both times T."""
    requests, steps = record.requests, record.steps
    if requests["preemptions"].any():
        return  # the time that a preempted request waits is not recorded
    scheduled = ~np.isnan(requests["first_scheduled_s"])
    spent_s = (requests["end_s"] - requests["first_scheduled_s"])[scheduled].sum()
    running_s = (steps["running"] * (steps["end_s"] - steps["start_s"])).sum()
    idle_s = spent_s - running_s  # held requests may run while no step is under way
    assert idle_s > -1e-6 * max(1.0, spent_s), "more running than there are requests"


def same(one: Record, other: Record) -> bool:
    """Whether two runs agree to the bit in everything but how they grouped steps."""
    return (
        all(np.array_equal(one.requests[name], other.requests[name], equal_nan=True) for name in one.requests)
        and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(_segments(one), _segments(other), strict=True))
        and all(np.array_equal(a, b) for a, b in zip(one.step_ends_s, other.step_ends_s, strict=True))
        and one.end_s == other.end_s
    )


def _segments(record: Record) -> list[NDArray[Any]]:
    order = np.lexsort((record.segments["first_step"], record.segments["request"]))
    return [column[order] for column in record.segments.values()]


class Witness(Scheduler):
    """Passes a scheduler through, and checks that it is pure: asked twice, it says the same and changes nothing."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.asks_every_step = scheduler.asks_every_step  # type: ignore[misc]
        self.decisions: list[tuple[float, Decision]] = []  #: when, and what was decided

    def schedule(self, view: InstanceView) -> Decision:
        """Ask twice."""
        before = _snapshot(view)
        decision = self._scheduler.schedule(view)
        assert decision == self._scheduler.schedule(view), "the same view, another decision"
        assert before == _snapshot(view), "the policy changed what it may only read"
        self.decisions.append((view.now_s, decision))
        return decision


def _snapshot(view: InstanceView) -> list[object]:
    waiting = [(r.id, r.computed_tokens, r.tokens_to_prefill) for r in view.waiting]
    running = [(r.id, r.computed_tokens, r.emitted_tokens) for r in view.running]
    return [view.now_s, view.free_blocks, view.decode_blocks, view.num_decoding, waiting, running]


def check_scheduler(scheduler: Scheduler, *, seed: int = 0) -> None:
    """Raise unless a scheduler keeps the contract on light, heavy and memory-bound loads.

    It serves everybody, is pure, and decides the same whether it is asked at every step or only when something happens.
    """
    rng = np.random.default_rng(seed)
    for rate_per_s, blocks in ((2.0, 1000), (40.0, 1000), (40.0, 60)):
        n = 60
        requests = Workload(
            np.cumsum(rng.exponential(1 / rate_per_s, n)), rng.integers(1, 300, n), rng.integers(1, 120, n), "check"
        )
        latency = LinearSteps(sequence_s=0.0001, context_token_s=1e-6)
        records = [
            serve(requests, Witness(scheduler), latency=latency, num_gpu_blocks=blocks, stretches=stretches)
            for stretches in (True, False)
        ]
        outcome = records[0].requests["outcome"]
        allowed = (Outcome.FINISHED, Outcome.REJECTED, Outcome.ABANDONED)
        assert np.isin(outcome, allowed).all(), "somebody was left behind"
        assert same(*records), "decides otherwise when asked at every step: set asks_every_step or review_at_s"
