"""Capacity as papers define it, by name: each gives a plan its targets, and what to look for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmsim import experiment
from llmsim.errors import InputError, nearest
from llmsim.metrics.sections.latencies import Latencies
from llmsim.metrics.sections.other_forms import CAPACITY_SHARE
from llmsim.scenario import Scenario
from llmsim.slo import Slo
from llmsim.studies.plan.targets import STAGES
from llmsim.studies.plan.unloaded import one_at_a_time

#: requests of the run, one at a time, that says how fast an unloaded server is
UNLOADED_REQUESTS = 200
#: Mooncake's multiples of the unloaded TTFT and TBT (arXiv 2407.00079, section 8)
MOONCAKE_TTFT, MOONCAKE_TBT = 10.0, 5.0


@dataclass(frozen=True, slots=True)
class Definition:
    """The name that a paper has for the largest load, and what must hold for it."""

    about: str
    targets: Callable[[Scenario], tuple[str, ...]]


def _distserve(scenario: Scenario) -> tuple[str, ...]:
    return ("slo.attainment >= 0.9",)


def _sarathi(scenario: Scenario) -> tuple[str, ...]:
    if scenario.slo.tbt_s is None:
        raise InputError(f"{scenario.where('slo', 'tbt_s')}--as sarathi bounds the P99 of token gaps; give slo.tbt_s")
    return f"tbt_s.p99 <= {scenario.slo.tbt_s:g}", "queueing_s.p50 <= 2"


def _vidur(scenario: Scenario) -> tuple[str, ...]:
    return ("queueing_s.p99 <= 5",)


def _mooncake(scenario: Scenario) -> tuple[str, ...]:
    alone = unloaded(scenario)
    bounds = {"ttft_s": MOONCAKE_TTFT, "tbt_s": MOONCAKE_TBT}
    found = []
    for key, factor in bounds.items():
        summary = alone[key]
        if summary is None or summary.p90 is None:
            raise InputError(f"--as mooncake: an unloaded run has no {key}.p90 to take a multiple of")
        found.append(f"{key}.p90 <= {factor * summary.p90:.6g}")
    return tuple(found)


def _slos_serve(scenario: Scenario) -> tuple[str, ...]:
    if scenario.slo.ttft_s is None or Slo(**scenario.slo.model_dump()).per_token_s is None:
        raise InputError(
            f"{scenario.where('slo')}--as slos-serve bounds the first token and every ten after it; "
            "give slo.ttft_s and slo.tpot_s"
        )
    return (f"{STAGES} >= {CAPACITY_SHARE:g}",)


def _stability(scenario: Scenario) -> tuple[str, ...]:
    return ("smooth_goodput_tokens_per_s >= 0",)


#: by the name of --as
DEFINITIONS: Mapping[str, Definition] = {
    "distserve": Definition("DistServe's goodput: 90 % of requests within the SLO", _distserve),
    "sarathi": Definition(
        "Sarathi-Serve's capacity: P99 of all token gaps within slo.tbt_s, median scheduling delay at most 2 s",
        _sarathi,
    ),
    "vidur": Definition("Vidur's capacity: P99 of the scheduling delay at most 5 s", _vidur),
    "mooncake": Definition(
        "Mooncake's effective load: P90 of TTFT at most 10 times, of token gaps 5 times that of an unloaded server",
        _mooncake,
    ),
    "slos-serve": Definition(
        "SLOs-Serve's capacity: 90 % of requests have the first token, and every ten after it, in time",
        _slos_serve,
    ),
    "stability": Definition(
        "the verge of stability: the largest load with a steady verdict, beyond which numbers hang on how long one "
        "measures; users are no worse off than unserved",
        _stability,
    ),
}


def definition(name: str) -> Definition:
    """Find a definition; InputError with the nearest name."""
    if name not in DEFINITIONS:
        raise InputError(f"--as {name}: unknown{nearest(name, DEFINITIONS)}; known: {', '.join(DEFINITIONS)}")
    return DEFINITIONS[name]


def unloaded(scenario: Scenario) -> Latencies:
    """Latencies of a server with one request at a time."""
    alone = one_at_a_time(scenario, UNLOADED_REQUESTS)
    if alone is None:
        raise InputError(f"{scenario.where('workload')}--as mooncake needs drawn requests to send one at a time")
    return experiment.run(alone).score.section(Latencies)
