"""The workloads of `llmsim bench`, by name. Each has what made some simulator look fast or slow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from llmsim.scenario import (
    ArrivalsTable,
    ClusterTable,
    LengthsTable,
    Scenario,
    SchedulerChoice,
    SessionsTable,
    SyntheticWorkload,
    TraceWorkload,
)
from llmsim.scenario.users import NumberTable, WaitTable

REQUESTS = 20_000
#: Requests/s that eight A100 finish of `azure-conv`. Measured with all requests there at once (20,000 requests at 200/s
#: and at 1000/s, seed 0): ends per second from the 20th to the 70th percent of all ends; 76.2 and 76.3.
AZURE_CONV_CAPACITY_PER_S = 76.0
#: the defaults of vLLM's API server on an H100 of 80 GB; those of an A100 are 2048 and 256
ON_H100 = SchedulerChoice.model_validate({"max_num_batched_tokens": 8192, "max_num_seqs": 1024})


def fixed(requests: int = REQUESTS) -> Scenario:
    """All requests alike: the workload of AISimulate's 6,270 requests/s."""
    lengths = LengthsTable.of("fixed", prompt_tokens=1024, output_tokens=256)
    arrivals = ArrivalsTable.of("poisson", rate_per_s=20.0)
    workload = SyntheticWorkload(requests=requests, arrivals=arrivals, lengths=lengths)
    cluster = ClusterTable(gpu="h100-sxm-80gb", instances=4)
    return Scenario(name="fixed", workload=workload, cluster=cluster, scheduler=ON_H100)


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


#: those that are drawn, by name
DRAWN: Mapping[str, Callable[[int], Scenario]] = {
    "fixed": fixed,
    "azure-conv": azure_conv,
    "overload": overload,
    "fcfs": fcfs,
    "sessions": sessions,
    "sessions-128-turns": sessions_128_turns,
}
#: those that need a trace
TRACED: Mapping[str, Callable[[Path, int | None], Scenario]] = {
    "mooncake": mooncake,
    "mooncake-caching": mooncake_caching,
}
