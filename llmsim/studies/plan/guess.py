"""Where a search begins: what one instance can do at most, from a short run that is never short of work."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from llmsim import experiment
from llmsim.scenario import SyntheticWorkload
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.loads import RATE

#: requests of the short run, and how many times as fast they come as is asked
GUESS_REQUESTS, CROWDED = 1_500, 1_000.0
#: share of what an instance can do at most at which an answer is looked for first
LIKELY = 0.85
#: a cluster is too small for certain if all of it could do less than this share of the load
TOO_SMALL = 0.8


def most_per_instance(candidate: Candidate) -> float | None:
    """Requests per second that an instance, or unit of pools, finishes while it never lacks work.

    From the middle half of the requests that end. None where that is not to be had so: users that wait for their
    answers, conversations, traces.
    """
    workload, load = candidate.scenario.workload, candidate.load
    if load.key != RATE or not isinstance(workload, SyntheticWorkload) or workload.sessions is not None:
        return None
    crowded = replace(candidate, load=replace(load, period_s=None))
    scenario = crowded.at(
        instances=1, amount=load.amount * CROWDED, requests=GUESS_REQUESTS, seed=candidate.scenario.seed
    )
    end_s = np.sort(
        experiment.run(scenario.model_copy(update={"autoscaling": None}), **candidate.files.load()).record.requests[
            "end_s"
        ]
    )
    first, last = len(end_s) // 4, 3 * len(end_s) // 4
    took_s = float(end_s[last] - end_s[first])
    return (last - first) / took_s if took_s > 0 else None


def likely_instances(amount: float, most: float) -> int:
    """How many instances a load takes, most likely."""
    return max(1, math.ceil(amount / (LIKELY * most)))


def too_few(amount: float, most: float) -> int:
    """So many instances are too few for certain."""
    return math.floor(TOO_SMALL * amount / most)
