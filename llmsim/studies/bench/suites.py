"""What `llmsim bench` runs: workloads for speed, sizes for scale, loads for the gain of stretches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median

from llmsim.errors import InputError, nearest
from llmsim.experiment.assembly import Progress
from llmsim.scenario import Scenario
from llmsim.studies.bench.speed import (
    Measurement,
    StretchSpeed,
    compare_stretches,
    in_own_process,
    measure,
    timeouts_per_s,
)
from llmsim.studies.bench.workloads import AZURE_CONV_CAPACITY_PER_S, DRAWN, TRACED, azure_conv

WORKLOADS = (*DRAWN, *TRACED)
#: what is run if nothing is named: the fast path, and what is close to it
USUAL = ("fixed", "azure-conv", "overload", "fcfs", "sessions", "sessions-128-turns", *TRACED)
ALL, SCALE, STRETCHES, TRACES, SHIPPED, PEERS = "all", "scale", "stretches", "traces", "shipped", "peers"
DECISIONS = "decisions"
#: what is run by itself, and why
ALONE = {
    TRACES: "measures reading, not simulating",
    SHIPPED: "has a table of its own",
    DECISIONS: "times schedulers call by call",
    PEERS: "runs another simulator beside this one",
}
NAMES = (*WORKLOADS, ALL, SCALE, STRETCHES, *ALONE)

NO_TRACE = "needs --trace FILE: the conversation trace of Mooncake (FAST '25)"
SCALE_REQUESTS = 1_000_000
LEAST_TO_SCALE = 100_000
REPEAT = 3
MANY_INSTANCES = 1_000
STRETCHES_REQUESTS = 2_000
LOADS = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)  #: shares of capacity

#: gives, for a run's name, what is told how far the run is
Watch = Callable[[str], AbstractContextManager[Progress]]


def known(names: list[str]) -> list[str]:
    """Return the names, the usual ones if there are none, `ALL` spelled out; InputError for one that there is not."""
    for name in names:
        if name not in NAMES:
            raise InputError(f"bench: unknown workload '{name}'{nearest(name, NAMES)}")
        if name in ALONE and len(set(names)) > 1:
            raise InputError(f"bench {name}: {ALONE[name]}; run it by itself")
    spelled = chain.from_iterable(WORKLOADS if name == ALL else (name,) for name in names)
    return list(dict.fromkeys(spelled)) or list(USUAL)


def scenarios(
    names: list[str], trace: Path | None, requests: int | None = None, *, skip: bool
) -> tuple[dict[str, Scenario], dict[str, str]]:
    """Return the scenarios of workloads, and why one is left out: it needs a trace and has none.

    InputError where that one was asked for (not `skip`), where the trace is no file, or for too few requests.
    """
    if SCALE in names and requests is not None and requests < LEAST_TO_SCALE:  # then starting costs most
        raise InputError(f"bench scale: {requests} requests say nothing of scale, expected at least {LEAST_TO_SCALE:,}")
    size = {} if requests is None else {"requests": requests}
    found = {name: DRAWN[name](**size) for name in names if name in DRAWN}
    traced = [name for name in names if name in TRACED]
    if not traced:
        if trace is not None:
            known_names = " or ".join(f"'{name}'" for name in TRACED)
            raise InputError(f"--trace {trace}: only the workload {known_names} reads a trace; name it too")
        return found, {}
    if trace is None:
        if skip:
            return found, dict.fromkeys(traced, NO_TRACE)
        raise InputError(f"bench {traced[0]}: {NO_TRACE}")
    if not trace.is_file():
        wrong = "is a folder, expected a trace file" if trace.is_dir() else "no such trace file"
        raise InputError(f"--trace {trace}: {wrong}")
    return found | {name: TRACED[name](trace, requests) for name in traced}, {}


def speed(scenarios: Mapping[str, Scenario], *, repeat: int, watch: Watch) -> dict[str, Measurement]:
    """Measure each scenario in a process of its own."""
    measured = {}
    for name, described in scenarios.items():
        with watch(name) as progress:
            measured[name] = in_own_process(measure, described, repeat=repeat, progress=progress)
    return measured


@dataclass(frozen=True, slots=True)
class Scale:
    """`azure-conv` at three sizes: some requests; ten times as many; and on many instances at the same load each.

    Costs are counted in SimPy timeouts, which takes out that a machine changes its pace.
    """

    runs: dict[str, Measurement]

    @property
    def requests_ratio(self) -> float:
        """Cost per request of ten times as many requests."""
        some, more, _ = self.runs.values()
        return more.timeouts_per_request / some.timeouts_per_request

    @property
    def instances_ratio(self) -> float:
        """Cost per request on many instances."""
        some, _, wide = self.runs.values()
        return wide.timeouts_per_request / some.timeouts_per_request


def scale(requests: int = SCALE_REQUESTS, *, repeat: int, watch: Watch) -> Scale:
    """Measure `azure-conv` with a tenth of `requests`, with all of them (once), and on many instances."""
    some, few = requests // 10, azure_conv(requests).cluster.instances
    wide = azure_conv(some, instances=MANY_INSTANCES, rate_per_s=20.0 * MANY_INSTANCES / few)
    runs = {
        **speed({f"{few} x A100": azure_conv(some)}, repeat=repeat, watch=watch),
        **speed({"10 x as many": azure_conv(requests)}, repeat=1, watch=watch),
        **speed({f"{MANY_INSTANCES:,} x A100": wide}, repeat=repeat, watch=watch),
    }
    return Scale(runs)


def stretches(requests: int = STRETCHES_REQUESTS, *, watch: Watch) -> dict[float, StretchSpeed]:
    """Compare stretches with single steps on `azure-conv`, by load: share of capacity -> comparison."""
    compared = {}
    for load in LOADS:
        described = azure_conv(requests, rate_per_s=load * AZURE_CONV_CAPACITY_PER_S)
        with watch(f"stretches at {100 * load:.0f} % load") as progress:
            compared[load] = in_own_process(compare_stretches, described, progress=progress)
    return compared


def yardstick(measured: list[Measurement]) -> float:
    """Median of SimPy's timeouts/s, over the samples taken next to these runs; without runs, over new ones."""
    samples = list(chain.from_iterable(each.simpy_timeouts_per_s for each in measured))
    return median(samples or [timeouts_per_s() for _ in range(5)])
