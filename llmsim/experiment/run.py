"""Run one scenario and score what happened."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from llmsim.cluster.clients import DIRECT
from llmsim.cluster.gateway import handed_out
from llmsim.delivery import shifted, until_left
from llmsim.experiment.assemble import make_api, make_delivery
from llmsim.experiment.assembly import Progress, assemble
from llmsim.experiment.autoscaling import autoscaling_score
from llmsim.experiment.by_class import classes_of, prediction_of
from llmsim.experiment.pools import gpus_of_instances, pool_scores
from llmsim.experiment.routing import caches_prefixes, router_choice
from llmsim.experiment.verdict import reported, verdict
from llmsim.latency.contract import LatencySource
from llmsim.metrics import attempts, ranges
from llmsim.metrics.client_queueing import client_queueing
from llmsim.metrics.gateway_waits import gateway_waits
from llmsim.metrics.imbalance import imbalance
from llmsim.metrics.prefix_hits import prefix_hits
from llmsim.metrics.reasons import reasons_told
from llmsim.metrics.score import score, score_classes
from llmsim.metrics.slo import Slo
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.stages import stages
from llmsim.metrics.wasted import wasted
from llmsim.metrics.window import Window, run_end_s
from llmsim.record import Record, Timelines
from llmsim.request import Outcome
from llmsim.scenario import Scenario, TraceWorkload
from llmsim.scheduler import Scheduler
from llmsim.statistics import Verdict


@dataclass(frozen=True, eq=False)
class Result:
    """A scenario, what happened, and what that is worth."""

    scenario: Scenario
    record: Record
    num_gpu_blocks: tuple[int, ...]  #: KV blocks of each instance
    #: JSON values; `wall_s` is the only one that differs between two runs. `verdict` says whether to believe its P99s
    score: dict[str, Any]

    @cached_property
    def delivered(self) -> Timelines:
        """Token times as they reached users; `record.timelines()` has them as they left the GPU."""
        return delivered(self.scenario, self.record)

    def reported(self, *, force: bool = False) -> dict[str, Any]:
        """Return the score as it is shown and stored: P99s only of a steady run, unless forced, and then marked."""
        return reported(self.score, force=force)


def delivered(scenario: Scenario, record: Record) -> Timelines:
    """Token times as they reached users: through API server and gateway, and no further than users who left.

    Waits count from where the scenario measures: `arrival_s` is the arrival at the client, or the sending.
    """
    api = make_api(scenario)
    emitted = handed_out(record, api.output_token_s)
    if scenario.measured_from == "sent":  # what was never sent has waited for nothing yet
        sent_s = record.requests["sent_s"]
        emitted = replace(emitted, arrival_s=np.where(np.isnan(sent_s), emitted.end_s, sent_s))
    received = shifted(emitted, api.response_s)
    return until_left(make_delivery(scenario)(received), record.requests["left_s"])


def run(
    scenario: Scenario,
    *,
    scheduler: type[Scheduler] | None = None,
    latency: type[LatencySource] | None = None,
    stepwise: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Run a scenario; `scheduler` and `latency` take the place of those it names, with the options it gives.

    `stepwise` takes every step on its own instead of in stretches: slower, with identical results. Raises
    InputError for what the scenario asks and cannot have.
    """
    started_s = time.perf_counter()
    assembly = assemble(scenario, scheduler=scheduler, latency=latency)
    record = assembly.simulate(stepwise=stepwise, progress=progress)
    instances, blocks = assembly.instances, assembly.num_gpu_blocks
    slo, user, window = assembly.slo, assembly.user, assembly.window
    result = Result(scenario, record, blocks, {})
    result.score.update(score_delivered(result.delivered, record, scenario, slo=slo, user=user, window=window))
    # of one alone there is none; requests that move are on two instances; those that come and go are not alike
    alone = len(instances) == 1 or scenario.kv_transfer is not None or scenario.autoscaling is not None
    result.score["imbalance"] = None if alone else imbalance(record, len(instances))
    result.score["verdict"] = judged(scenario, record, result.delivered, window).to_dict()
    if scenario.pool:
        result.score["pools"] = pool_scores(result.delivered, record, scenario, blocks)
    else:
        result.score["num_gpu_blocks"] = blocks[0]
    result.score.update({"simulated_s": record.end_s, "wall_s": time.perf_counter() - started_s})
    return result


def judged(scenario: Scenario, record: Record, delivered: Timelines, window: Window) -> Verdict:
    """Say whether a run was steady within a window; waits count from where the scenario measures."""
    return verdict(record, window, delivered.arrival_s, output_token_s=make_api(scenario).output_token_s)


def score_delivered(
    delivered: Timelines, record: Record, scenario: Scenario, *, slo: Slo, user: User, window: Window
) -> dict[str, Any]:
    """Score a run on its delivered token times; `choices.delivery` says how tokens got there."""
    requests = record.requests
    tries = scenario.retries
    on = [Outcome[name.upper()] for name in tries.on]
    end_s = max(record.end_s, run_end_s(delivered))
    last = attempts.final(requests)
    whole = attempts.whole(delivered, requests, attempts=tries.max_attempts, on=on, end_s=end_s)
    scheduled_s = requests["first_scheduled_s"][last]
    values = score(whole, slo=slo, user=user, window=window, first_scheduled_s=scheduled_s, end_s=end_s)
    if classes := {name: (mine[last], bounds) for name, (mine, bounds) in classes_of(record, scenario).items()}:
        values["classes"] = score_classes(
            whole, classes, user=user, window=window, first_scheduled_s=scheduled_s, end_s=end_s
        )
    if told := prediction_of(record, scenario):
        values["prediction"] = told
    if reasons := reasons_told(record):
        values["reasons"] = reasons
    further = {"attempts": attempts.attempts_made(requests), "conversations": attempts.conversations(requests)}
    values |= {name: counts for name, counts in further.items() if counts is not None}
    held_back = scenario.clients.max_in_flight is not None
    values["client_queueing_s"] = client_queueing(record) if held_back else None
    if (api := make_api(scenario)) != DIRECT:
        values |= gateway_waits(record, limited=api.max_concurrency is not None)
    values["wasted"] = wasted(record, gpus_of_instances(scenario))
    if scenario.autoscaling is not None:
        values["autoscaling"] = autoscaling_score(record, scenario, int(ranges.layout(delivered).n_tokens.sum()))
    if scenario.kv_transfer is not None:
        values["stages"] = stages(record)
    if caches_prefixes(scenario):
        values["prefix_cache"] = prefix_hits(record, of_trace=isinstance(scenario.workload, TraceWorkload))
    values["choices"]["delivery"] = scenario.delivery.model_dump(exclude_none=True)
    values["choices"]["router"] = router_choice(scenario)
    values["choices"]["measured_from"] = scenario.measured_from
    return values
