"""How good the answers of a scenario's models are: what routers are told, what judges say, and what came of it."""

from __future__ import annotations

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.experiment.pools import pool_of_instances
from llmsim.metrics import gpu_time
from llmsim.metrics.ranges import Bools, select
from llmsim.metrics.scored import OfClass, Run
from llmsim.metrics.sections.answer_quality import AnswerQuality
from llmsim.metrics.slo import meets
from llmsim.record import Record, Timelines
from llmsim.request import Outcome
from llmsim.router import Router
from llmsim.scenario import Scenario, TraceWorkload
from llmsim.slo import Slo
from llmsim.workload.contract import Workload
from llmsim.workload.quality import Escalation, Quality, draw_answers, judge_answers, predict_quality


def make_quality(scenario: Scenario, router: Router, rng: np.random.Generator, workload: Workload) -> Quality | None:
    """Draw how good each model's answers are, or take that from the trace, with what routers are told; None: unknown.

    InputError for a router that goes by quality without any, for a model that no pool serves, and for a pool's model
    without quality.
    """
    table = scenario.quality
    if table is None:
        if router.needs_quality:
            raise InputError(
                f"{scenario.where('router')}{scenario.router_name} goes by how good answers are, and there is no "
                "[quality]; expected quality.skill, by model"
            )
        return None
    if router.needs_quality and not router.pools_named().get("pools"):
        raise InputError(
            f"{scenario.where('router')}{scenario.router_name} chooses between pools; expected router.pools, the "
            f"cheapest first, of {', '.join(pool.name for pool, _ in scenario.pools)}"
        )
    if scenario.kv_transfer is not None:
        raise InputError(f"{scenario.where('quality')}pools for prefill and decode serve one model; leave it out")
    served_by = _served_by(scenario, table.models)
    answers, errors = rng.spawn(2)
    if table.skill:
        values = draw_answers(answers, len(workload), list(table.skill.values()), table.noise)
    elif workload.quality is not None:
        values = workload.quality.values
    else:
        raise InputError(f"{scenario.where('quality', 'columns')}those of a trace, and no trace is read; give skill")
    return Quality.of(values, predict_quality(errors, values, table.prediction_error), table.models, served_by)


def _served_by(scenario: Scenario, models: tuple[str, ...]) -> dict[str, str]:
    """The model of each pool; InputError for one that is missing on either side."""
    served = {pool.name: cluster.model for pool, cluster in scenario.pools}
    key = "skill" if scenario.quality is not None and scenario.quality.skill else "columns"
    for pool, model in served.items():
        if model not in models:
            raise InputError(f"{scenario.where('quality', key)}says nothing of {model}, which pool '{pool}' serves")
    for model in models:
        if model not in served.values():
            raise InputError(
                f"{scenario.where('quality', key)}no pool serves '{model}'{nearest(model, list(served.values()))}"
            )
    return served


def make_escalation(
    scenario: Scenario, router: Router, rng: np.random.Generator, quality: Quality | None
) -> Escalation | None:
    """Say beforehand which answers fail, and so ask for the next model; None where none is judged."""
    judge = router.judge()
    if judge is None or quality is None:
        return None
    for key, given in (("retries", scenario.retries.max_attempts > 1), ("until_s", scenario.until_s is not None)):
        if given:
            raise InputError(
                f"{scenario.where(key)}{scenario.router_name} answers each request to the end; leave it out"
            )
    values = np.column_stack([quality.in_pool(pool) for pool in judge.pools[:-1]])
    return Escalation(judge_answers(rng, values, accept=judge.accept, error=judge.error), judge.takes_s)


def quality_of(
    whole: Timelines, record: Record, scenario: Scenario, last: Bools, classes: dict[str, OfClass], slo: Slo
) -> AnswerQuality | None:
    """Measure what answers were worth and cost, over the whole run; None where their quality is not known."""
    worth = record.requests.get("quality")
    if worth is None:
        return None
    of_request, requests = worth[last], int(last.sum())
    on_time = np.zeros(requests, np.bool_)
    for each in classes.values() or [OfClass(np.ones(requests, np.bool_), slo, None)]:
        if each.slo is not None:
            on_time[each.mine] = meets(select(whole, each.mine), each.slo)
    gpus = Run(record, scenario).gpus
    answered = record.requests["outcome"] == Outcome.FINISHED
    pools = pool_of_instances(scenario)[record.requests["instance"][answered]]
    of_pool = np.bincount(pools, minlength=len(scenario.pools)) / requests
    return AnswerQuality(
        mean=float(of_request.mean()),
        within_slo=float((of_request * on_time).mean()),
        answers_of={pool.name: float(share) for (pool, _), share in zip(scenario.pools, of_pool, strict=True)},
        passed_on=np.count_nonzero(answered & ~last) / requests,
        gpu_s_per_request=float(gpu_time.spent_gpu_s(record, gpus).sum()) / requests,
        paid_gpu_s_per_request=sum(gpus) * record.end_s / requests,
    )


def quality_in_trace(scenario: Scenario) -> Quality | None:
    """Stand in for what a trace says of one request, where it is not read; None where it is asked for nothing."""
    table = scenario.quality
    if table is None or not table.columns or not isinstance(scenario.workload, TraceWorkload):
        return None
    right = np.ones((1, len(table.models)))
    return Quality.of(right, right, table.models, {})
