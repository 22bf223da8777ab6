"""Checks for authors of policies, and for our own: a policy that passes them can be trusted in a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster import InstanceSpec, RunOptions, build_cluster
from llmsim.cluster.clients import ApiPath
from llmsim.cluster.cluster import Cluster
from llmsim.cluster.fleet import ORACLE, Reports
from llmsim.cluster.gateway import handed_out
from llmsim.engine.memory import CachingMemory
from llmsim.latency.contract import UNBOUNDED, Chunk, LatencyModel, Line
from llmsim.record import Floats, Record
from llmsim.request import Outcome, RequestView, Role
from llmsim.router import FleetView, Router
from llmsim.routers.round_robin import RoundRobin
from llmsim.scheduler import Decision, InstanceLimits, InstanceView, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.waiting import WaitingQueue
from llmsim.workload.asked import Asked
from llmsim.workload.classes import Classes
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

    def decode_line(self, decoding: int, context_tokens: int) -> Line:
        """All on one line."""
        return self.step_time_s((), decoding, context_tokens), self.context_token_s * decoding, UNBOUNDED


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
    block_tokens: int = 16,
    prefix_caching: bool = False,
    roles: Sequence[Role] = (),
    **special: Any,
) -> Record:
    """Serve a workload on a small cluster; check the record, and that nothing is left on the instances.

    `special`: the `RunOptions` of the run, by name.
    """
    spec = InstanceSpec(
        scheduler, latency or LinearSteps(), num_gpu_blocks, max_model_len, block_tokens, prefix_caching
    )
    specs = [replace(spec, role=role) for role in roles] if roles else [spec] * instances
    run_options = RunOptions(**special)
    cluster = build_cluster(requests, specs, router or RoundRobin(), np.random.default_rng(0), run_options)
    record = cluster.run(run_options.until_s)
    check_record(record)
    _check_in_flight(record, run_options.max_in_flight)
    _check_gateway(record, run_options.api)
    _check_drained(cluster, cut_off=run_options.until_s is not None)
    used = record.steps["kv_blocks_used"]
    assert ((used >= 0) & (used <= num_gpu_blocks)).all(), "KV blocks used are not between none and all"
    return record


def serve_both_ways(requests: Workload, scheduler: Scheduler, **options: Any) -> tuple[Record, Record]:
    """Serve in stretches, and step by step; `options` are those of `serve`. That both are the `same` is not checked."""
    return serve(requests, scheduler, stretches=True, **options), serve(requests, scheduler, stretches=False, **options)


def _check_drained(cluster: Cluster, cut_off: bool) -> None:
    """All have ended: the queues are empty, and every KV block is free unless a step was cut off half-way."""
    for instance in cluster.instances:
        states, exchange = instance.states, instance.exchange
        left = [*states.waiting, *states.running, *states.prefilling, *states.held]
        if exchange is not None and not cut_off:
            left += [*exchange.offered, *exchange.incoming, *exchange.outgoing]
        assert not left, f"requests {left} have ended, yet are on instance {instance.number}"
        memory = states.memory
        assert cut_off or memory.free_blocks == memory.total_blocks, "KV blocks are still held"
        if isinstance(memory, CachingMemory):
            memory.check()
    assert cluster.fleet.in_system == 0, "requests have ended, yet are outstanding"


def check_record(record: Record) -> None:
    """Raise AssertionError unless a record keeps what every record must keep."""
    _check_requests(record)
    _check_token_times(record)
    _check_steps(record)
    _check_work(record)
    _check_littles_law(record)


def _check_in_flight(record: Record, max_in_flight: int | None) -> None:
    """Whenever a request is sent, so many at most are between their sending and their end, or their user's leaving."""
    sent_s = np.sort(record.requests["sent_s"])
    gone_s = np.sort(np.fmin(record.requests["left_s"], record.requests["end_s"]))
    sent_s = sent_s[~np.isnan(sent_s)]
    in_flight = np.arange(1, len(sent_s) + 1) - np.searchsorted(gone_s, sent_s, side="right")
    assert max_in_flight is None or (in_flight <= max_in_flight).all(), "more in flight than the clients allow"


def _check_gateway(record: Record, api: ApiPath) -> None:
    """Whenever a request is admitted, so many at most are between their admission and their last token's arrival."""
    requests = record.requests
    admitted_s = requests.get("admitted_s", np.empty(0))
    assert (api.max_concurrency is None) == (len(admitted_s) == 0), "admission times without a limit, or none with it"
    entered = ~np.isnan(admitted_s)
    if api.max_concurrency is None or not entered.any():
        return
    finished = requests["outcome"] == Outcome.FINISHED
    gone_s = np.where(finished, handed_out(record, api.output_token_s).end_s, requests["end_s"])
    gone_s = np.sort((gone_s + np.where(np.isnan(requests["left_s"]), api.response_s, 0.0))[entered])
    admitted_s = np.sort(admitted_s[entered])
    inside = np.arange(1, len(admitted_s) + 1) - np.searchsorted(gone_s, admitted_s, side="right")
    assert (inside <= api.max_concurrency).all(), "more at once than the gateway lets through"
    ahead = (requests["admitted_s"] < requests["sent_s"]) | (requests["queued_s"] < requests["admitted_s"])
    assert not ahead.any(), "admitted before it was sent, or queued before it was admitted"


def _check_requests(record: Record) -> None:
    requests = record.requests
    assert len({len(column) for column in requests.values()}) == 1, "not one row, and one outcome, per request"
    assert np.isin(requests["outcome"], list(Outcome)).all(), "an outcome that there is not"
    assert (requests["end_s"] >= requests["arrival_s"]).all(), "ended before it arrived"
    ahead = (requests["sent_s"] < requests["arrival_s"]) | (requests["queued_s"] < requests["sent_s"])
    assert not ahead.any(), "sent before it arrived, or queued before it was sent"
    assert (requests["end_s"] <= record.end_s).all(), "ended after the run"
    finished = requests["outcome"] == Outcome.FINISHED
    emitted = requests["emitted_tokens"]
    assert (emitted[finished] == requests["output_tokens"][finished]).all(), "finished without all tokens"
    assert (emitted <= requests["output_tokens"]).all(), "more tokens than asked for"
    rejected = requests["outcome"] == Outcome.REJECTED
    assert np.isnan(requests["first_scheduled_s"][rejected]).all(), "rejected, yet scheduled"


def _check_token_times(record: Record) -> None:
    requests, timelines = record.requests, record.timelines()
    heads = ~np.isnan(timelines.head_s)
    emitted = np.bincount(timelines.request, timelines.count + heads, minlength=len(timelines))
    assert np.array_equal(emitted, requests["emitted_tokens"]), "token times and token counts differ"
    for request in np.flatnonzero(emitted)[:1000]:
        times_s = timelines.token_times_s(request)
        assert times_s[0] > requests["first_scheduled_s"][request] >= requests["queued_s"][request]
        assert (np.diff(times_s) > 0).all(), "tokens out of order"
        assert times_s[-1] <= requests["end_s"][request], "token after the end"
    decoded = np.sum(record.steps["steps"] * record.steps["decoding"])
    assert decoded == timelines.count.sum(), "tokens decoded and tokens emitted differ"


def _check_steps(record: Record) -> None:
    steps = record.steps
    for instance in range(len(record.step_ends_s)):
        own = steps["instance"] == instance
        start_s, end_s = steps["start_s"][own], steps["end_s"][own]
        assert (end_s > start_s).all(), "a step that takes no time"
        assert (start_s[1:] >= end_s[:-1]).all(), "steps overlap"
        assert (np.diff(record.step_ends_s[instance]) > 0).all(), "step ends out of order"


def _check_work(record: Record) -> None:
    """Every token is computed once, but cached ones and the last of each request never, and what was lost once more."""
    computed = record.steps["prefill_tokens"].sum() + np.sum(record.steps["steps"] * record.steps["decoding"])
    assert computed == record.requests["computed_tokens"].sum(), "tokens computed in steps and for requests differ"
    requests = record.requests
    if not np.isin(requests["outcome"], (Outcome.FINISHED, Outcome.REJECTED)).all():
        return
    served = requests["outcome"] == Outcome.FINISHED
    once = requests["prompt_tokens"] + requests["output_tokens"] - 1 - requests["cached_tokens"]
    needed = (once + requests["recomputed_tokens"])[served].sum()
    assert computed == needed, f"{computed} tokens computed, {needed} needed"


def _check_littles_law(record: Record) -> None:
    requests = record.requests
    spent_s = np.nansum(requests["end_s"] - requests["queued_s"])
    assert present_s(record) < spent_s + 1e-6 * max(1.0, spent_s), "more in the system than there are requests"


def present_s(record: Record) -> float:
    """Integrate the number of requests in the system over time, from the steps table: request-seconds.

    By Little's law (L T = sum of W) this is the sum of the times that the requests spend, up to rounding. It is less
    where requests sit in an instance that does nothing: all held, or in a step that the end of the run cut off; and
    where a request is sent because another one has ended at the end of a row, which does not count it.
    """
    requests, steps = record.requests, record.steps
    area_s = float(np.sum((steps["waiting"] + steps["running"]) * (steps["end_s"] - steps["start_s"])))
    first = requests["instance"].copy()
    first[record.transfers["request"][::-1]] = record.transfers["source"][::-1]  # where they were before they moved
    for instance in range(len(record.step_ends_s)):
        own = steps["instance"] == instance
        came = (first == instance) & (requests["outcome"] != Outcome.REJECTED)
        if own.any():  # a row counts the requests present at its end, also before they came
            area_s -= _before_arrival_s(requests["queued_s"][came], steps["start_s"][own], steps["end_s"][own])
    return area_s


def _before_arrival_s(arrival_s: Floats, start_s: Floats, end_s: Floats) -> float:
    """Sum the times from a row's start to each arrival during it, or at its very end: arrivals go before step ends.

    The last row may count arrivals after its end, too: those in a step that the end of the run cut off.
    """
    row = np.searchsorted(start_s, arrival_s, side="left") - 1
    during = (row >= 0) & ((arrival_s <= end_s[row]) | (row == len(end_s) - 1))
    return float(np.nansum((np.minimum(arrival_s, end_s[row]) - start_s[row])[during]))


def same(one: Record, other: Record) -> bool:
    """Whether two runs agree to the bit in everything but how they grouped steps."""
    return (
        all(np.array_equal(one.requests[name], other.requests[name], equal_nan=True) for name in one.requests)
        and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(_segments(one), _segments(other), strict=True))
        and all(np.array_equal(a, b) for a, b in zip(one.step_ends_s, other.step_ends_s, strict=True))
        and all(np.array_equal(one.transfers[n], other.transfers[n], equal_nan=True) for n in one.transfers)
        and all(np.array_equal(one.instance_states[n], other.instance_states[n]) for n in one.instance_states)
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
        self.needs_prediction = scheduler.needs_prediction  # type: ignore[misc]
        self.prefix_cache = scheduler.prefix_cache  # type: ignore[misc]
        self.decisions: list[tuple[float, Decision]] = []  #: when, and what was decided

    @property
    def most_running(self) -> int | None:
        """Ask the other scheduler."""
        return self._scheduler.most_running

    def schedule(self, view: InstanceView) -> Decision:
        """Ask twice."""
        before = _snapshot(view)
        decision = self._scheduler.schedule(view)
        assert decision == self._scheduler.schedule(view), "the same view, another decision"
        assert before == _snapshot(view), "the policy changed what it may only read"
        self.decisions.append((view.now_s, decision))
        return decision

    def new_queue(self) -> WaitingQueue:
        """Pass through."""
        return self._scheduler.new_queue()

    def why_never(self, request: RequestView, limits: InstanceLimits) -> str | None:
        """Pass through."""
        return self._scheduler.why_never(request, limits)


def _witness(scheduler: Scheduler) -> Witness:
    """Watch a scheduler under its own name, which the engine's refusals tell."""
    named: type[Witness] = type(type(scheduler).__name__, (Witness,), {})
    return named(scheduler)


def _snapshot(view: InstanceView) -> list[object]:
    waiting = [(r.id, r.arrival_s, r.prompt_tokens, r.computed_tokens, r.tokens_to_prefill) for r in view.waiting]
    running = [(r.id, r.arrival_s, r.prompt_tokens, r.computed_tokens, r.emitted_tokens) for r in view.running]
    return [view.now_s, view.free_blocks, view.decode_blocks, view.num_decoding, waiting, running]


def check_scheduler(scheduler: Scheduler, *, seed: int = 0) -> None:
    """Raise unless a scheduler keeps the contract on light, heavy, memory-bound and sudden loads.

    It serves every request, is pure, and decides the same whether it is asked at every step or only after a change.
    Raises AssertionError or `PolicyError`, with what is wrong; TypeError for a class in place of a scheduler.
    """
    _check_made(scheduler)
    rng = np.random.default_rng(seed)
    latency = LinearSteps(sequence_s=0.0001, context_token_s=1e-6)
    for rate_per_s, blocks in ((2.0, 1000), (40.0, 1000), (40.0, 60), (1e6, 200)):
        requests = _drawn(rng, 60, rate_per_s)
        records = [
            serve(requests, _witness(scheduler), latency=latency, num_gpu_blocks=blocks, stretches=stretches)
            for stretches in (True, False)
        ]
        records.append(serve(requests, scheduler, latency=latency, num_gpu_blocks=blocks))  # without a witness
        outcome = records[0].requests["outcome"]
        allowed = (Outcome.FINISHED, Outcome.REJECTED, Outcome.ABANDONED)
        assert np.isin(outcome, allowed).all(), "a request was neither served nor rejected"
        assert same(*records[:2]), "decides otherwise when asked at every step: set asks_every_step or review_at_s"
        assert same(*records[1:]), "does not decode by itself when it is not asked: it is no `decodes_by_itself`"


#: (chunks, decoding sequences, sum of their contexts) of steps that every latency model must know
STEPS: tuple[tuple[tuple[Chunk, ...], int, int], ...] = (
    (((0, 1),), 0, 0),
    (((0, 512),), 0, 0),
    (((0, 30_000),), 0, 0),
    (((4096, 512),), 0, 0),
    (((0, 100), (512, 512), (0, 7)), 0, 0),
    ((), 1, 1),
    ((), 1, 131_072),
    ((), 17, 17 * 900),
    ((), 256, 256 * 2000),
    ((), 5000, 5000 * 3),
    (((0, 512),), 1, 700),
    (((512, 300), (0, 200)), 100, 100_000),
)
#: (decoding sequences, sum of their contexts) from which rows of decode steps are followed, and for how many steps
ROWS = ((1, 1, 300), (7, 900, 1), (100, 50_000, 300), (3, 9, 40))


def check_latency(latency: LatencyModel) -> None:
    """Raise AssertionError unless step times keep the contract; TypeError for a class in place of a model.

    They are positive and finite floats, the same whenever they are asked for, and no shorter with more context or a
    longer chunk; and what `decode_line` says of steps in a row is what `step_time_s` says of each.
    """
    _check_made(latency)
    for step in STEPS:
        time_s = latency.step_time_s(*step)
        assert type(time_s) is float, f"{time_s!r}: expected a float, of step {step}"
        assert 0 < time_s < np.inf, f"{time_s}: expected a finite time above 0, of step {step}"
    asked = [latency.step_time_s(*step) for step in (*STEPS, *STEPS[::-1])]
    assert asked == asked[::-1], "the same step, another time"
    for decoding in (1, 64, 1500):
        times_s = [latency.step_time_s((), decoding, decoding * context) for context in range(1, 3000, 7)]
        assert (np.diff(times_s) >= -1e-15).all(), f"more context is faster, {decoding} sequences"
    times_s = [latency.step_time_s(((100, tokens),), 8, 8000) for tokens in range(1, 3000, 13)]
    assert (np.diff(times_s) >= -1e-15).all(), "a longer chunk is faster"
    for row in ROWS:
        _check_lines(latency, *row)


def _check_lines(latency: LatencyModel, decoding: int, context_tokens: int, steps: int) -> None:
    while steps > 0:
        first_s, growth_s, on_line = line = latency.decode_line(decoding, context_tokens)
        where = f"decode_line({decoding}, {context_tokens})"
        assert tuple(map(type, line)) == (float, float, int), f"{where} = {line}: expected two floats and an int"
        assert on_line >= 1, f"{where} holds for no step"
        single_s = latency.step_time_s((), decoding, context_tokens)
        assert first_s == single_s, f"{where} begins with {first_s} s, the step alone takes {single_s} s"
        for k in range(min(on_line, steps)):
            single_s = latency.step_time_s((), decoding, context_tokens + k * decoding)
            assert abs(first_s + k * growth_s - single_s) <= 1e-12 * single_s, f"{where}: step {k} takes {single_s} s"
        steps -= on_line
        context_tokens += on_line * decoding


def _check_made(policy: object) -> None:
    if isinstance(policy, type):
        raise TypeError(f"{policy.__name__} is a class, expected one made of it, such as {policy.__name__}()")


def _drawn(rng: np.random.Generator, n: int, rate_per_s: float) -> Workload:
    arrival_s = np.cumsum(rng.exponential(1 / rate_per_s, n))
    prompts, outputs = rng.integers(1, 300, n), rng.integers(1, 120, n)
    return with_guesses(Workload(arrival_s, prompts, outputs, "check"))


def with_guesses(requests: Workload, seed: int = 0) -> Workload:
    """Give every request a prediction that has little to do with its length, one of three priorities, and a bound.

    The bound on its output is `max_tokens`, more than it gets or exactly that, and then it may ignore EOS.
    """
    rng = np.random.default_rng(seed)
    n = len(requests)
    classes = Classes(rng.integers(0, 3, n), ("first", "second", "third"), (0, 1, 2))
    predicted = rng.integers(1, 120, n)
    more = np.maximum(rng.integers(-60, 60, n), 0)
    asked = Asked(requests.output_tokens + more, (more == 0) & (rng.random(n) < 0.5))
    return replace(requests, predicted_output_tokens=predicted, classes=classes, asked=asked)


class RouterWitness(Router):
    """Passes a router through, and checks that it keeps no state: the same view and draws, the same instance."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Ask twice, with the same random numbers."""
        draws = fleet.rng.bit_generator.state
        before = _seen(fleet)
        chosen = self._router.route(request, fleet)
        after = fleet.rng.bit_generator.state
        fleet.rng.bit_generator.state = draws
        assert chosen == self._router.route(request, fleet), "the same view, another instance"
        assert fleet.rng.bit_generator.state == after, "the same view, another number of draws"
        assert np.array_equal(before, _seen(fleet)), "the policy changed what it may only read"
        there = isinstance(chosen, int | np.integer) and 0 <= chosen < fleet.size
        assert there, f"{chosen!r}: expected an instance from 0 to {fleet.size - 1}"
        return chosen


def _seen(fleet: FleetView) -> NDArray[np.int64]:
    rows = (fleet.outstanding, fleet.waiting, fleet.waiting_tokens, fleet.running, fleet.free_blocks)
    return np.array(rows)


def check_router(router: Router, *, seed: int = 0) -> None:
    """Raise unless a router keeps the contract on fleets of 1, 2 and 5 instances, idle and crowded, with old news too.

    It names an instance that there is, as a whole number, keeps no state, changes nothing, and says if it `reads`.
    """
    _check_made(router)
    rng = np.random.default_rng(seed)
    for instances, reports in ((1, ORACLE), (2, ORACLE), (5, ORACLE), (5, Reports(0.5)), (5, Reports(0.5, False))):
        for rate_per_s in (2.0, 200.0):
            requests = _drawn(rng, 40, rate_per_s)
            scheduler = ChunkedPrefill(max_num_seqs=4)
            serve(requests, scheduler, instances=instances, router=RouterWitness(router), reports=reports)
    serve(_drawn(rng, 40, 20.0), ChunkedPrefill(), instances=2, router=router)  # nothing else reads the instances
