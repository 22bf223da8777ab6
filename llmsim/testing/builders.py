"""Small clusters and workloads, built by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmsim.cluster import InstanceSpec, RunOptions, build_cluster
from llmsim.cluster.cluster import Cluster
from llmsim.engine.memory import CachingMemory
from llmsim.engine.speculation.rule import Speculation
from llmsim.latency.contract import UNBOUNDED, Chunk, LatencyModel, Line
from llmsim.latency.speculative import mean_query_tokens
from llmsim.record import Record
from llmsim.request import Role
from llmsim.router import Router
from llmsim.routers.round_robin import RoundRobin
from llmsim.scheduler import Scheduler
from llmsim.slo import Slo
from llmsim.testing.records import check_gateway, check_in_flight, check_record
from llmsim.workload.acceptance import draw
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

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Add them up."""
        tokens = sum(tokens for _, tokens in prefill)
        return (
            self.step_s
            + self.prefill_token_s * tokens
            + self.sequence_s * decoding
            + self.context_token_s * context_tokens
        )

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
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
    async_scheduling: bool = False,
    speculation: Speculation | None = None,
    **special: Any,
) -> Record:
    """Serve a workload on a small cluster; check the record, and that nothing is left on the instances.

    `special`: the `RunOptions` of the run, by name.
    """
    spec = InstanceSpec(
        scheduler,
        latency or LinearSteps(),
        num_gpu_blocks,
        max_model_len,
        block_tokens,
        prefix_caching,
        async_scheduling=async_scheduling,
        speculation=speculation,
    )
    specs = [replace(spec, role=role) for role in roles] if roles else [spec] * instances
    run_options = RunOptions(**special)
    cluster = build_cluster(requests, specs, router or RoundRobin(), np.random.default_rng(0), run_options)
    record = cluster.run(run_options.until_s)
    check_record(record, in_vain=async_scheduling)
    check_in_flight(record, run_options.max_in_flight)
    check_gateway(record, run_options.api)
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


def drawn(rng: np.random.Generator, n: int, rate_per_s: float) -> Workload:
    """Draw n short requests at this rate, with predictions and priorities that have little to do with them."""
    arrival_s = np.cumsum(rng.exponential(1 / rate_per_s, n))
    prompts, outputs = rng.integers(1, 300, n), rng.integers(1, 120, n)
    return with_guesses(Workload(arrival_s, prompts, outputs, "check"))


def drafting(latency: LinearSteps, most: int = 4) -> Speculation:
    """Let requests draft up to so many tokens, each as many as a policy says; each takes as long as one sequence."""

    def times(mix: Mapping[int, int]) -> LinearSteps:
        return replace(latency, sequence_s=latency.sequence_s * mean_query_tokens(mix))

    return Speculation(((1, most),), 0, {k: times({k: 1}) for k in range(most + 1)}, mixed=times)


def accepting(requests: Workload, rng: np.random.Generator, most: int) -> Workload:
    """Have drafts of requests accepted with probability 0.8, or 0.4, each after those before it."""
    rates = np.array([0.8, 0.4])[:, None] ** np.arange(1, most + 1)
    lengths = [[100, *row] for row in (100 + np.cumsum(np.round(100 * rates), axis=1)).astype(int).tolist()]
    return replace(requests, acceptance=draw(rng, lengths, rng.integers(0, 2, len(requests)), most))


def with_guesses(requests: Workload, seed: int = 0) -> Workload:
    """Give every request a prediction that has little to do with its length, one of three classes, and a bound.

    Classes have priorities and SLOs.

    The bound on its output is `max_tokens`, more than it gets or exactly that, and then it may ignore EOS.
    """
    rng = np.random.default_rng(seed)
    n = len(requests)
    slos = (Slo(ttft_s=0.3, tpot_s=0.05), Slo(ttft_s=2.0, tbt_s=0.02), Slo(ttft_s=1.0, token_deadline_s=0.1))
    classes = Classes(rng.integers(0, 3, n), ("first", "second", "third"), (0, 1, 2), slos=slos)
    predicted = rng.integers(1, 120, n)
    more = np.maximum(rng.integers(-60, 60, n), 0)
    asked = Asked(requests.output_tokens + more, (more == 0) & (rng.random(n) < 0.5))
    return replace(requests, predicted_output_tokens=predicted, classes=classes, asked=asked)
