"""What can be changed on the page: keys of a scenario, with a range or a list of values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from llmsim import discovery
from llmsim.latency.hardware import list_gpus
from llmsim.scenario import Scenario, SyntheticWorkload

#: how far a slider goes, in times of the scenario's own value
RATE_FACTOR = 5.0
MOST_INSTANCES = 16
#: seconds: the SLO's sliders
TTFT_RANGE_S, TBT_RANGE_S = (0.05, 10.0), (0.01, 1.0)
SCHEDULERS = "llmsim.schedulers"


@dataclass(frozen=True, slots=True)
class Control:
    """A slider from `least` to `most`, or a list of `choices`, for one key of a scenario."""

    key: str
    words: str
    value: float | int | str | None
    least: float = 0.0
    most: float = 0.0
    whole: bool = False  #: only whole numbers
    choices: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self)


def controls_of(scenario: Scenario) -> list[Control]:
    """Return what the page of a scenario can change; what a scenario does not have, such as a rate, is left out."""
    return [*_load(scenario), *_cluster(scenario), *_slo(scenario)]


def _load(scenario: Scenario) -> Iterator[Control]:
    workload = scenario.workload
    if not isinstance(workload, SyntheticWorkload):
        yield Control("workload.rate_scale", "times the rate", workload.rate_scale, 0.1, RATE_FACTOR)
        return
    rate_per_s = workload.arrivals.options.get("rate_per_s")
    if isinstance(rate_per_s, int | float) and not workload.classes_arrive:
        most = RATE_FACTOR * rate_per_s
        yield Control("workload.arrivals.rate_per_s", "requests/s", float(rate_per_s), most / 100, most)


def _cluster(scenario: Scenario) -> Iterator[Control]:
    if scenario.pool:  # each pool has its own
        return
    cluster = scenario.cluster
    if scenario.autoscaling is None:
        most = max(MOST_INSTANCES, 2 * cluster.instances)
        yield Control("cluster.instances", "instances", cluster.instances, 1, most, whole=True)
    gpus = dict.fromkeys([cluster.gpu, *list_gpus()])
    yield Control("cluster.gpu", "GPU", cluster.gpu, choices=tuple(gpus))
    schedulers = dict.fromkeys([scenario.scheduler.name, *discovery.names(SCHEDULERS)])
    yield Control("scheduler.name", "scheduler", scenario.scheduler.name, choices=tuple(schedulers))


def _slo(scenario: Scenario) -> Iterator[Control]:
    for key, words, bound_s, (least, most) in (
        ("slo.ttft_s", "SLO: TTFT, s", scenario.slo.ttft_s, TTFT_RANGE_S),
        ("slo.tbt_s", "SLO: ITL, s", scenario.slo.tbt_s, TBT_RANGE_S),
    ):
        if bound_s is not None:
            yield Control(key, words, bound_s, min(least, bound_s), max(most, bound_s))
