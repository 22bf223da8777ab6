"""What no number of instances can do: targets that requests miss although each has an instance to itself.

With more instances a request shares its own with fewer others, and never with fewer than none: so one run, in which
each request is sent when the one before it has ended, bounds what any number of them does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from llmsim import experiment
from llmsim.experiment.routing import make_router
from llmsim.experiment.run_scenario import asked_requests
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.scored import Requests
from llmsim.metrics.slo import BOUNDED_S, meets_each
from llmsim.metrics.window import Window
from llmsim.record import Record
from llmsim.request import Outcome
from llmsim.scenario import Scenario, SyntheticWorkload
from llmsim.scenario.workload import CLOSED, ArrivalsTable
from llmsim.statistics.shares import Clusters, probability_at_most
from llmsim.studies.plan.binding import Binding, binding_of
from llmsim.studies.plan.candidates import Candidate, instances_of
from llmsim.studies.plan.evaluate import FAILS, Evaluation
from llmsim.studies.plan.loads import USERS
from llmsim.studies.plan.measured_runs import MeasuredPoint
from llmsim.studies.plan.targets import Target, latencies_s, missed_by

#: requests that are sent one after the other
REQUESTS = 400


def one_at_a_time(scenario: Scenario, requests: int) -> Scenario | None:
    """So many of its drawn requests, each sent when the one before it has ended; None for any other workload."""
    workload = scenario.workload
    if not isinstance(workload, SyntheticWorkload) or workload.classes_arrive or workload.sessions is not None:
        return None
    alone = {"arrivals": ArrivalsTable.of(CLOSED, concurrency=1), "requests": requests}
    changed = workload.model_copy(update=alone)
    return scenario.model_copy(update={"workload": changed, "until_s": None})


def never_kept(
    candidate: Candidate, targets: Sequence[Target], confidence: float
) -> tuple[Evaluation, Binding | None] | None:
    """The run that shows which targets no number of instances keeps, and what binds it, if any of it is served.

    None where there are none, and where an instance alone says nothing of several: prompts that begin alike, routers
    that send requests of different kinds to different instances.
    """
    scenario = one_at_a_time(candidate.scenario, REQUESTS)
    if scenario is None or _several_are_otherwise(scenario):
        return None
    one = candidate.at(instances=1, amount=candidate.load.amount, requests=REQUESTS, seed=scenario.seed)
    scenario = scenario.model_copy(update={"cluster": one.cluster, "pool": one.pool})
    result = experiment.run(scenario, **candidate.files.load())
    asked = asked_requests(result, Window("makespan"))
    kept = Distributions.of(asked)
    shares = [(target, missed_by(target, asked, kept)) for target in targets]
    missed = {str(target): clusters for target, clusters in shares if clusters is not None}
    never = [target for target, clusters in shares if clusters is not None and _never(target, clusters, confidence)]
    if not never:
        return None
    served = bool((result.record.requests["outcome"] != Outcome.REJECTED).any())
    words = dict.fromkeys(_missed(target, missed[str(target)], asked) for target in never) if served else ()
    one_user, end_s = candidate.load.key == USERS, result.record.end_s
    amount = 1.0 if one_user or end_s <= 0 else float(f"{REQUESTS / end_s:.3g}")
    reason = f"sent one at a time, {' and '.join([*_refused(result.record), *words])}"
    point = MeasuredPoint(scenario.seed, REQUESTS, FAILS, reason, {}, {}, missed)
    found = Evaluation(1, amount, FAILS, 0.0, reason, (point,), unloaded=True)
    return found, binding_of(result.record, instances_of(scenario, candidate.files)) if served else None


def _several_are_otherwise(scenario: Scenario) -> bool:
    workload = scenario.workload
    assert isinstance(workload, SyntheticWorkload)
    shared = workload.prefixes is not None or any(each.prefixes is not None for each in workload.classes)
    return shared or (not scenario.pool and make_router(scenario).splits)


def _never(target: Target, clusters: Clusters, confidence: float) -> bool:
    assert target.most_missing is not None
    return probability_at_most([clusters], target.most_missing)[1] <= 1 - confidence


def _refused(record: Record) -> Iterator[str]:
    """Share of the requests that an instance never takes, and why most of them are."""
    reason, refused = record.requests["reason"], record.requests["outcome"] == Outcome.REJECTED
    if refused.any():
        why = record.reasons[int(np.bincount(reason[refused]).argmax())]
        yield f"{100 * refused.mean():.3g} % of {len(refused)} requests are refused ({why})"


def _missed(target: Target, clusters: Clusters, asked: Requests) -> str:
    """How many requests miss a target; of an SLO its worst bound, and by how much."""
    table, bound_s = target.metric.partition(".")[0], target.bound
    if table in ("slo", "forms"):
        assert asked.slo is not None
        each = meets_each(asked.counted, asked.slo)
        table = min(each, key=lambda bound: float(each[bound].mean()))
        bound_s, share = asked.slo.given()[table], 1 - float(each[table].mean())
    else:
        share = clusters.events / clusters.of
    said = f"{100 * share:.3g} % of {clusters.of} requests exceed {table} = {bound_s:g}"
    if table == "token_deadline_s":
        return said
    waits_s = BOUNDED_S[table](asked.counted) if table in BOUNDED_S else latencies_s(table, asked.counted, None)
    waits_s = waits_s[np.isfinite(waits_s)]
    return (
        f"{said} (the fastest takes {waits_s.min():.3g} s, the median {np.median(waits_s):.3g})"
        if len(waits_s)
        else said
    )
