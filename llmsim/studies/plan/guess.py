"""What one instance can do at most, from a run that is never short of work: where a search begins, and what it skips.

An open queue is stable below the rate at which the same system, saturated, finishes requests, and not above it (the
saturation rule, Baccelli & Foss 1995). So a short run of one instance with all requests waiting from the start says of
any number of them what they carry at most; its error is that of a mean over turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from llmsim import experiment
from llmsim.experiment.routing import make_router
from llmsim.record import Record
from llmsim.request import Outcome
from llmsim.scenario import Scenario, SyntheticWorkload
from llmsim.statistics import OVERLOADED
from llmsim.statistics.intervals import student_t
from llmsim.statistics.series import standard_error
from llmsim.studies.plan.binding import Binding, binding_of
from llmsim.studies.plan.candidates import Candidate, instances_of
from llmsim.studies.plan.loads import RATE
from llmsim.studies.plan.measured_runs import MeasuredPoint

#: requests of the short run, and how many times as fast they come as is asked
GUESS_REQUESTS, CROWDED = 1_500, 1_000.0
#: it has so many times as many requests as ever run at once, and no more than this
TURNS, MOST_GUESSED = 10, 20_000
#: share of what an instance can do at most at which an answer is looked for first: a little too few instances cost
#: nothing, as the answer's neighbour is looked at in any case
LIKELY = 0.95
#: a cluster is too small for certain if all of it could do less than this share of the load
TOO_SMALL = 0.8
#: turns before the rate is taken, and that its error needs; the chance that it is above its upper end
SKIPPED_TURNS, FEWEST_TURNS, CHANCE = 2, 5, 1e-3
#: share of the rate below which its error is not said
SAID_ERROR = 1e-3


@dataclass(frozen=True, slots=True)
class Most:
    """What an instance, or unit of pools, finishes per second while it never lacks work, and what it has least of."""

    rate_per_s: float
    upper_per_s: float  #: its rate is above this with probability `CHANCE`; inf where the run cannot bound it
    point: MeasuredPoint  #: the run, as evidence
    binding: Binding

    def overloads(self, instances: int, amount: float) -> bool:
        """Whether so much is more than so many instances finish."""
        return amount > instances * self.upper_per_s

    def evidence(self, instances: int, amount: float) -> MeasuredPoint:
        """The run as that of so many instances that so much overloads."""
        most = instances * self.rate_per_s
        error_per_s = instances * self.upper_per_s - most
        error = f" (± {error_per_s:.2g})" if error_per_s > SAID_ERROR * most else ""
        they = "it finishes" if instances == 1 else "they finish"
        said = f"all requests waiting, {they} {most:.4g}/s{error}"
        return replace(self.point, reason=f"{said}, and {amount:.4g}/s come")


def most_per_instance(candidate: Candidate, output_factor: float = 1.0) -> Most | None:
    """Serve many requests that all come at once, with outputs so many times as long.

    None where that is not to be had: users that wait for their answers, conversations, traces, and instances that a
    router gives requests of different kinds.
    """
    workload, load = candidate.scenario.workload, candidate.load
    if load.key != RATE or not isinstance(workload, SyntheticWorkload) or workload.sessions is not None:
        return None
    if not candidate.scenario.pool and make_router(candidate.scenario).splits:
        return None
    crowded = replace(candidate, load=replace(load, period_s=None))
    requests, last = GUESS_REQUESTS, 0
    while requests > last:
        scenario = crowded.at(
            instances=1, amount=load.amount * CROWDED, requests=requests, seed=candidate.scenario.seed
        ).model_copy(update={"autoscaling": None})
        record = experiment.run(scenario, **candidate.files.load(), output_factor=output_factor).record
        last, requests = requests, min(MOST_GUESSED, max(requests, TURNS * _at_once(record)))
    return _most(scenario, record, candidate)


def _at_once(record: Record) -> int:
    """The most requests in service at any time."""
    scheduled_s, end_s = record.requests["first_scheduled_s"], record.requests["end_s"]
    served = ~np.isnan(scheduled_s)
    begun_s = np.sort(scheduled_s[served])
    left = np.searchsorted(np.sort(end_s[served]), begun_s, side="right")
    return int((np.arange(1, len(begun_s) + 1) - left).max(initial=0))


def _most(scenario: Scenario, record: Record, candidate: Candidate) -> Most | None:
    """Rate of ends from the third turn on, while requests wait; its error is that of whole turns.

    A turn has as many ends as requests that run at once: requests of equal length begin, and end, in waves.
    """
    end_s, turn = np.sort(record.requests["end_s"]), max(1, _at_once(record))
    until_s = float(np.nanmax(record.requests["first_scheduled_s"], initial=-math.inf))
    turns_s = end_s[: np.searchsorted(end_s, until_s, side="right")][SKIPPED_TURNS * turn :: turn]
    if len(turns_s) < 2 or turns_s[-1] <= turns_s[0]:
        return None
    took_s = np.diff(turns_s)
    rate_per_s = turn / float(took_s.mean())
    bounded = len(took_s) >= FEWEST_TURNS and _in_order(record) and not _shares_prefixes(scenario)
    least_s = float(took_s.mean()) - student_t(1 - CHANCE, len(took_s) - 1) * standard_error(took_s) if bounded else 0.0
    binding = binding_of(record, instances_of(scenario, candidate.files), until_s=until_s)
    point = MeasuredPoint(scenario.seed, len(end_s), OVERLOADED, "", {}, {})
    return Most(rate_per_s, turn / least_s if least_s > 0 else math.inf, point, binding)


def _in_order(record: Record) -> bool:
    """Whether all requests were served, each begun no sooner than those before it: else a crowd is served otherwise."""
    requests = record.requests
    finished = bool((requests["outcome"] == Outcome.FINISHED).all())
    return finished and bool((np.diff(requests["first_scheduled_s"]) >= 0).all())


def _shares_prefixes(scenario: Scenario) -> bool:
    """Whether prompts begin alike: of several instances each may find more of them in its cache than one alone does."""
    workload = scenario.workload
    assert isinstance(workload, SyntheticWorkload)
    return workload.prefixes is not None or any(each.prefixes is not None for each in workload.classes)


def likely_instances(amount: float, most: float) -> int:
    """How many instances a load takes, most likely."""
    return max(1, math.ceil(amount / (LIKELY * most)))


def too_few(amount: float, most: float) -> int:
    """So many instances are too few for certain."""
    return math.floor(TOO_SMALL * amount / most)
