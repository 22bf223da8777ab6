"""The workloads of `llmsim bench`, by name. Each has what made some simulator look fast or slow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from llmsim.scenario import (
    ArrivalsTable,
    ClusterTable,
    LengthsTable,
    Scenario,
    SchedulerChoice,
    SessionsTable,
    SyntheticWorkload,
    TraceWorkload,
    WindowTable,
    load_scenario,
)
from llmsim.scenario.speculation import SpeculationTable
from llmsim.scenario.users import NumberTable, WaitTable

REQUESTS = 20_000
#: Requests/s that eight A100 finish of `azure-conv`. Measured with all requests there at once (20,000 requests at 200/s
#: and at 1000/s, seed 0): ends per second from the 20th to the 70th percent of all ends; 58.8 both times.
AZURE_CONV_CAPACITY_PER_S = 58.8
#: the defaults of vLLM's API server on an H100 of 80 GB; those of an A100 are 2048 and 256
ON_H100 = SchedulerChoice.model_validate({"max_num_batched_tokens": 8192, "max_num_seqs": 1024})


def fixed(requests: int = REQUESTS) -> Scenario:
    """All requests alike: the workload of AISimulate's 6,270 requests/s."""
    lengths = LengthsTable.of("fixed", prompt_tokens=1024, output_tokens=256)
    arrivals = ArrivalsTable.of("poisson", rate_per_s=20.0)
    workload = SyntheticWorkload(requests=requests, arrivals=arrivals, lengths=lengths)
    cluster = ClusterTable(gpu="h100-sxm-80gb", instances=4)
    return Scenario(name="fixed", workload=workload, cluster=cluster, scheduler=ON_H100)


def fixed_speculation(requests: int = REQUESTS) -> Scenario:
    """The same with three drafted tokens."""
    plain = fixed(requests)
    drafts = SpeculationTable(method="eagle3", num_speculative_tokens=3, acceptance="kimi-k2.5-nvfp4/on")
    return plain.model_copy(update={"name": "fixed-speculation", "speculation": drafts})


def azure_conv(
    requests: int = REQUESTS, *, instances: int = 8, rate_per_s: float = 20.0, scheduler: str = "chunked_prefill"
) -> Scenario:
    """Lengths of Azure's conversations, on A100."""
    arrivals = ArrivalsTable.of("poisson", rate_per_s=rate_per_s)
    return Scenario(
        name="azure-conv",
        workload=SyntheticWorkload(requests=requests, arrivals=arrivals, lengths=LengthsTable.of("azure_conv")),
        cluster=ClusterTable(gpu="a100-sxm4-80gb", instances=instances),
        scheduler=SchedulerChoice(name=scheduler),
    )


def overload(requests: int = REQUESTS) -> Scenario:
    """Twice what the instances can do: a queue that only grows."""
    return azure_conv(requests, rate_per_s=2 * AZURE_CONV_CAPACITY_PER_S)


def fcfs(requests: int = REQUESTS) -> Scenario:
    """Whole prompts first, then decoding."""
    return azure_conv(requests, scheduler="fcfs")


def mooncake(trace: Path, requests: int | None = None) -> Scenario:
    """Mooncake's conversations, with prompts of 12,000 tokens: the workload of AISimulate's 685 requests/s."""
    workload = TraceWorkload(trace=str(trace), format="mooncake", limit=requests)
    cluster = ClusterTable(gpu="h100-sxm-80gb", instances=8)
    return Scenario(name="mooncake", workload=workload, cluster=cluster, scheduler=ON_H100)


def mooncake_caching(trace: Path, requests: int | None = None) -> Scenario:
    """The same with prefix caching, which is AISimulate's default."""
    plain = mooncake(trace, requests)
    cluster = plain.cluster.model_copy(update={"prefix_caching": True})
    return plain.model_copy(update={"name": "mooncake-caching", "cluster": cluster})


def sessions(requests: int = REQUESTS, *, turns: int = 8) -> Scenario:
    """Conversations whose turns repeat all that was said, on the instance that has it: a turn adds 200 tokens."""
    lengths = LengthsTable.of("fixed", prompt_tokens=100, output_tokens=100)
    number = NumberTable(distribution="fixed", mean=turns)
    conversations = SessionsTable(turns=number, think=WaitTable(mean_s=15.0))
    arrivals = ArrivalsTable.of("closed", concurrency=256)
    return Scenario(
        name="sessions",
        workload=SyntheticWorkload(requests=requests, arrivals=arrivals, lengths=lengths, sessions=conversations),
        cluster=ClusterTable(gpu="h100-sxm-80gb", instances=8, router="session_affinity", prefix_caching=True),
        scheduler=ON_H100,
    )


def sessions_128_turns(requests: int = REQUESTS) -> Scenario:
    """The same, sixteen times as long."""
    return sessions(requests, turns=128).model_copy(update={"name": "sessions-128-turns"})


def prefix_aware(requests: int = REQUESTS) -> Scenario:
    """Conversations again, sent to where most of them is cached."""
    return _changed(sessions(requests), "prefix-aware", cluster={"router": "prefix_aware"})


def lognormal_one(requests: int = REQUESTS) -> Scenario:
    """One instance, and nothing else: the workload of tokenmill's 143,000 requests/s."""
    lengths = LengthsTable.of("lognormal", prompt_mean_tokens=1024, output_mean_tokens=256)
    arrivals = ArrivalsTable.of("poisson", rate_per_s=20.0)
    workload = SyntheticWorkload(requests=requests, arrivals=arrivals, lengths=lengths)
    return Scenario(
        name="lognormal-one", workload=workload, cluster=ClusterTable(gpu="h100-sxm-80gb"), scheduler=ON_H100
    )


def long_outputs(requests: int = 2_000) -> Scenario:
    """Answers of ten thousand tokens, a few at a time: many steps, and few decisions."""
    return _changed(
        fixed(requests),
        "long-outputs",
        workload={"lengths": {"source": "fixed", "prompt_tokens": 1024, "output_tokens": 10_000}},
        cluster={"instances": 8},
    )


def outputs(requests: int = 1_000, *, tokens: int) -> Scenario:
    """Answers of so many tokens each at a tenth of the load of `fixed`: a score's cost should not grow with them."""
    return _changed(
        fixed(requests),
        f"outputs-{tokens // 1000}k",
        workload={
            "lengths": {"source": "fixed", "prompt_tokens": 1024, "output_tokens": tokens},
            "arrivals": {"process": "poisson", "rate_per_s": 2.0 * 256 / tokens},
        },
        cluster={"instances": 8, "max_model_len": 131_072},
    )


def token_delay(requests: int = 1_000) -> Scenario:
    """Tokens held back for their readers: every token is a decision."""
    return _changed(azure_conv(requests, scheduler="token_delay"), "token-delay")


def earliest_deadline_deep(requests: int = REQUESTS) -> Scenario:
    """All requests at once, in order of the deadlines of their tokens."""
    described = azure_conv(requests, rate_per_s=1000.0, scheduler="earliest_token_deadline")
    return _changed(described, "earliest-deadline-deep")


def sed_1000(requests: int = REQUESTS) -> Scenario:
    """A thousand instances, whose queues are all weighed against each other for each request."""
    return _changed(_wide(requests), "sed-1000", cluster={"router": "shortest_expected_delay"})


def stale_1000(requests: int = REQUESTS) -> Scenario:
    """A thousand instances that report once a second."""
    return _changed(_wide(requests), "stale-1000", router={"name": "least_outstanding", "report_age_s": 1.0})


def sender(requests: int = REQUESTS) -> Scenario:
    """An API server that takes its time for each token."""
    return _changed(azure_conv(requests), "sender", host={"output_token_s": 2e-4})


def _wide(requests: int) -> Scenario:
    return azure_conv(requests, instances=1_000, rate_per_s=2_500.0)


def _changed(described: Scenario, name: str, **tables: Mapping[str, Any]) -> Scenario:
    """The same under another name, with these keys of its tables."""
    values = described.model_dump()
    changed = {table: {**(values[table] or {}), **keys} for table, keys in tables.items()}
    return Scenario.model_validate({**values, **changed, "name": name})


def shipped(name: str, requests: int | None = None) -> Scenario:
    """A scenario that llmsim ships, with its own number of requests or another; all of them count."""
    described = load_scenario(name, [] if requests is None else [f"workload.requests={requests}"])
    return described.model_copy(update={"window": WindowTable()})


#: shipped scenarios with what takes instances off the fast path
SHIPPED = ("disaggregated", "gateway", "heterogeneous", "patience")
#: those that are drawn, by name
DRAWN: Mapping[str, Callable[..., Scenario]] = {
    "fixed": fixed,
    "azure-conv": azure_conv,
    "overload": overload,
    "fcfs": fcfs,
    "sessions": sessions,
    "sessions-128-turns": sessions_128_turns,
    "prefix-aware": prefix_aware,
    "lognormal-one": lognormal_one,
    "long-outputs": long_outputs,
    **{f"outputs-{n}k": partial(outputs, tokens=1000 * n) for n in (1, 10, 100)},
    "token-delay": token_delay,
    "earliest-deadline-deep": earliest_deadline_deep,
    "sed-1000": sed_1000,
    "stale-1000": stale_1000,
    "sender": sender,
    **{name: partial(shipped, name) for name in SHIPPED},
    "fixed-speculation": fixed_speculation,
}
#: those that need a trace
TRACED: Mapping[str, Callable[[Path, int | None], Scenario]] = {
    "mooncake": mooncake,
    "mooncake-caching": mooncake_caching,
}
