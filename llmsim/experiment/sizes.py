"""How long a run takes and how much memory, roughly and before it begins; and what cannot fit is refused.

Measured on quickstart with `resource.getrusage`: 530 bytes a request of one output token, 1,500 to 4,200 a request of
440, most of them for stretches of steps; 0.3 ms an instance. How long an output is costs no memory by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmsim.errors import InputError
from llmsim.scenario import ImmediateDelivery, Scenario
from llmsim.workload.contract import Workload

#: of one process: half of what llmsim bench measures for ordinary scenarios; some take ten times as long
REQUESTS_PER_S = 20_000
RUN_S = 0.01  #: of a run of few requests
INSTANCE_S = 3e-4
#: steps that a long prompt is cut into are taken one by one
STEP_S, STEP_TOKENS = 2e-5, 8192
TICK_S = 1e-5  #: of an autoscaler's look
#: no run has been seen that takes less a request
LEAST_BYTES = 500
SMALL_BYTES = 100_000_000  #: fits anywhere: nothing is asked
TOKEN_BYTES = 8  #: an output token more, where few requests share a step
PACED_TOKEN_BYTES = 8  #: an output token whose time of delivery follows from no formula
OUTPUT_TOKENS = 400  #: of requests whose lengths have no mean of their own


@dataclass(frozen=True, slots=True)
class Size:
    """What runs take, one after another."""

    runs: int
    requests: int  #: of all runs together; those of a trace are not known before it is read
    seconds: float
    bytes: float  #: of the largest run, at most

    @classmethod
    def of(cls, scenarios: Iterable[Scenario], times: int = 1) -> Size:
        """Add up runs of scenarios, each so many times."""
        sizes = [_of(scenario) for scenario in scenarios]
        return cls(
            times * len(sizes),
            times * sum(size.requests for size in sizes),
            times * sum(size.seconds for size in sizes),
            max((size.bytes for size in sizes), default=0.0),
        )


def _of(scenario: Scenario) -> Size:
    requests = getattr(scenario.workload, "requests", 0)
    lengths = getattr(scenario.workload, "lengths", None)
    said = {} if lengths is None else lengths.options
    prompt_tokens = said.get("prompt_tokens", said.get("prompt_mean_tokens", 0))
    output_tokens = said.get("output_tokens", said.get("output_mean_tokens", OUTPUT_TOKENS))
    instances = sum(cluster.instances for _, cluster in scenario.pools)
    steps = requests * (prompt_tokens // STEP_TOKENS)
    seconds = RUN_S + requests / REQUESTS_PER_S + INSTANCE_S * instances + STEP_S * steps + TICK_S * _ticks(scenario)
    return Size(1, requests, seconds, requests * (LEAST_BYTES + TOKEN_BYTES * output_tokens))


def _ticks(scenario: Scenario) -> float:
    """Looks of an autoscaler at its cluster, one every `interval_s`, over arrivals of a stated rate."""
    arrivals = getattr(scenario.workload, "arrivals", None)
    rate_per_s = None if arrivals is None else arrivals.options.get("rate_per_s")
    if scenario.autoscaling is None or not rate_per_s:
        return 0.0
    lasts_s = min(getattr(scenario.workload, "requests", 0) / rate_per_s, scenario.until_s or math.inf)
    return float(lasts_s / scenario.autoscaling.interval_s)


def check_fits(scenario: Scenario) -> None:
    """Refuse more requests than the memory at hand can hold, whatever they do; InputError with both numbers."""
    requests = getattr(scenario.workload, "requests", 0)
    if LEAST_BYTES * requests < SMALL_BYTES:
        return
    available = available_bytes()
    if available is not None and LEAST_BYTES * requests > available:
        raise InputError(
            f"{scenario.where('workload', 'requests')}{requests:,} requests take at least "
            f"{in_gb(LEAST_BYTES * requests)} of memory, {in_gb(available)} are free here: expected at most "
            f"{available // LEAST_BYTES:,}"
        )


def check_workload_fits(scenario: Scenario, workload: Workload, longest_tokens: int) -> None:
    """Refuse requests that came from a trace, or token times that are held back one by one, and cannot be held here.

    `longest_tokens`: longer requests are rejected, and have no times. InputError with both numbers.
    """
    requests, tokens = len(workload), 0
    patience = scenario.patience
    all_end = scenario.until_s is None and scenario.abandonment.policy == "never"
    all_end = all_end and patience.first_token is None and patience.next_token is None
    if all_end and not isinstance(scenario.delivery, ImmediateDelivery):
        served = workload.prompt_tokens + workload.output_tokens <= longest_tokens
        tokens = int(workload.output_tokens[served].sum())
    least = LEAST_BYTES * requests + PACED_TOKEN_BYTES * tokens
    if least < SMALL_BYTES:
        return
    available = available_bytes()
    if available is not None and least > available:
        held = f" with {tokens:,} tokens, each held back (delivery)," if tokens else ""
        raise InputError(
            f"{scenario.name}: {requests:,} requests{held} take at least {in_gb(least)} of memory, {in_gb(available)} "
            f"are free here: expected at most {int(requests * available / least):,} such requests"
        )


def in_gb(size: float) -> str:
    """Write bytes for a message."""
    return f"{size / 1e9:.1f} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"


def available_bytes() -> int | None:
    """Memory that a process may take here; None where the system does not say."""
    return min([*_limit_of_process(), *_free_of_machine(), *_free_of_group()], default=None)


def _limit_of_process() -> list[int]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if limit == resource.RLIM_INFINITY else [limit]


def _free_of_machine() -> list[int]:
    lines = _lines("/proc/meminfo")
    return [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]


def _free_of_group() -> list[int]:
    """What the control group, version 2, of a container leaves."""
    most, taken = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    return [int(most[0]) - int(taken[0])] if most and taken and most[0].isdigit() else []


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
