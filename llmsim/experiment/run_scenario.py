"""Run one scenario and score what happened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmsim import guests
from llmsim.cluster.clients import DIRECT
from llmsim.cluster.gateway import after_sender
from llmsim.delivery import shifted, until_left
from llmsim.experiment.assembly import Progress, assemble
from llmsim.experiment.autoscaling import autoscaling_score
from llmsim.experiment.by_class import agents_of, classes_of, prediction_of
from llmsim.experiment.energy import energy_of
from llmsim.experiment.engine_rules import engine_rules
from llmsim.experiment.extrapolated import extrapolated
from llmsim.experiment.parts import make_api, make_delivery, make_model, make_slo, make_user, make_window
from llmsim.experiment.pools import pool_scores
from llmsim.experiment.quality import quality_of
from llmsim.experiment.routing import router_choice
from llmsim.experiment.utilisation import utilisation_of
from llmsim.experiment.verdict import arrivals_of, reported, verdict
from llmsim.latency.contract import LatencySource
from llmsim.metrics import attempts, ranges
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.kpi import Section
from llmsim.metrics.ranges import Bools
from llmsim.metrics.score import Score, class_sections, score, sections_of_run
from llmsim.metrics.scored import Requests, Run
from llmsim.metrics.sections.agents import Agents
from llmsim.metrics.sections.choices import Choices
from llmsim.metrics.sections.duration import Duration
from llmsim.metrics.sections.engine_ttft import EngineTtft
from llmsim.metrics.sections.memory import Memory
from llmsim.metrics.sections.other_forms import OtherForms
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import Window, resolve, run_end_s
from llmsim.record import Record, Timelines
from llmsim.request import Outcome
from llmsim.scenario import Scenario
from llmsim.scheduler import Scheduler
from llmsim.slo import Slo
from llmsim.statistics import Verdict


@dataclass(frozen=True, eq=False)
class Result:
    """A scenario, what happened, and what that is worth."""

    scenario: Scenario
    record: Record
    num_gpu_blocks: tuple[int, ...]  #: KV blocks of each instance
    #: `wall_s` is the only number that differs between two equal runs; `verdict` says whether to believe its P99s
    score: Score
    workload: str = ""  #: where the requests came from, and what was left out of them, in words

    @cached_property
    def delivered(self) -> Timelines:
        """Token times as they reached users; `record.timelines()` has them as they left the GPU."""
        return delivered(self.scenario, self.record)

    @cached_property
    def distributions(self) -> Distributions:
        """What is kept beside the score, so that runs can be pooled."""
        return distributions_of(self, make_window(self.scenario))

    def reported(self, *, force: bool = False) -> Score:
        """Return the score as it is shown and stored: P99s only of a steady run, unless forced, and then marked."""
        return reported(self.score, force=force)


def delivered(scenario: Scenario, record: Record) -> Timelines:
    """Token times as they reached users: through API server and gateway, and no further than when users left.

    Waits count from where the scenario measures: `arrival_s` is the arrival at the client, or the sending.
    """
    api = make_api(scenario)
    emitted = after_sender(record, api.output_token_s)
    if scenario.measured_from == "sent":  # what was never sent has waited for nothing yet
        sent_s = record.requests["sent_s"]
        emitted = replace(emitted, arrival_s=np.where(np.isnan(sent_s), emitted.end_s, sent_s))
    received = shifted(emitted, api.response_s)
    return until_left(make_delivery(scenario)(received), record.requests["left_s"])


@guests.contained()
def run(
    scenario: Scenario,
    *,
    scheduler: type[Scheduler] | None = None,
    latency: type[LatencySource] | None = None,
    stepwise: bool = False,
    progress: Progress | None = None,
    step_time_factor: float = 1.0,
    output_factor: float = 1.0,
    decision_limit_s: float | None = None,
) -> Result:
    """Run a scenario; `scheduler` and `latency` take the place of those it names, with the options it gives.

    `stepwise` takes every step on its own instead of in stretches: slower, with identical results. With
    `step_time_factor` every step takes so many times as long, with `output_factor` every output is so many times as
    long. Raises InputError for what the scenario asks and cannot have, and `PolicyError` for what a policy does wrong,
    or takes longer than `decision_limit_s` to decide.
    """
    started_s = time.perf_counter()
    assembly = assemble(scenario, scheduler=scheduler, latency=latency, decision_limit_s=decision_limit_s)
    if step_time_factor != 1:
        assembly = assembly.with_step_times(step_time_factor)
    if output_factor != 1:
        assembly = assembly.with_outputs(output_factor)
    record = assembly.simulate(stepwise=stepwise, progress=progress)
    blocks, window = assembly.num_gpu_blocks, assembly.window
    received = delivered(scenario, record)
    made: list[Section] = [RunVerdict.of(verdict_of(scenario, record, received, window))]
    made.append(pool_scores(received, record, scenario, blocks) if scenario.pool else Memory(blocks[0]))
    if used := utilisation_of(record, scenario, assembly.instances):
        made.append(used)
    scored = score_delivered(received, record, scenario, slo=assembly.slo, user=assembly.user, window=window)
    rules = engine_rules(scenario, assembly.instances)
    models = [make_model(scenario, pool) for pool in range(len(scenario.pools))]
    beside = dict.fromkeys(f"not modelled: {words}" for model in models for words in model.not_modelled)
    step_times = "; ".join([assembly.step_times, *extrapolated(record, assembly.instances), *beside])
    made.append(replace(scored.section(Choices), engine=rules, step_times=step_times))
    made.append(Duration(record.end_s, time.perf_counter() - started_s))
    return Result(scenario, record, blocks, scored.having(*made), assembly.workload.source)


def distributions_of(result: Result, window: Window) -> Distributions:
    """Measure how the latencies of a run's requests in a window are distributed; each request counts once."""
    return Distributions.of(asked_requests(result, window))


def asked_requests(result: Result, window: Window) -> Requests:
    """The requests of a run as they were asked, and how they are judged, whatever the reader's choices."""
    whole, last = as_asked(result.delivered, result.record, result.scenario)
    scheduled_s = result.record.requests["first_scheduled_s"][last]
    return Requests(whole, resolve(window, whole), make_slo(result.scenario), None, scheduled_s, result.record.end_s)


def forms_of(asked: Requests, scenario: Scenario) -> OtherForms:
    """Judge a run's requests, as they were asked, by the rules of other papers; costs time by all tokens."""
    return OtherForms.of(replace(asked, user=make_user(scenario)))


def verdict_of(scenario: Scenario, record: Record, delivered: Timelines, window: Window) -> Verdict:
    """Say whether a run was steady within a window; waits count from where the scenario measures."""
    token_s = make_api(scenario).output_token_s
    return verdict(record, window, delivered.arrival_s, output_token_s=token_s, arrivals=arrivals_of(scenario))


def as_asked(delivered: Timelines, record: Record, scenario: Scenario) -> tuple[Timelines, Bools]:
    """Timelines with one row for each request, however often it was tried; and which rows of the record these are."""
    tries = scenario.retries
    on = [Outcome[name.upper()] for name in tries.on]
    end_s = max(record.end_s, run_end_s(delivered))
    whole = attempts.whole(delivered, record.requests, attempts=tries.max_attempts, on=on, end_s=end_s)
    return whole, attempts.final(record.requests)


def score_delivered(
    delivered: Timelines, record: Record, scenario: Scenario, *, slo: Slo, user: User, window: Window
) -> Score:
    """Score a run on its delivered token times; `choices.delivery` says how tokens got there."""
    requests = record.requests
    end_s = max(record.end_s, run_end_s(delivered))
    whole, last = as_asked(delivered, record, scenario)
    scheduled_s = requests["first_scheduled_s"][last]
    scored = score(whole, slo=slo, user=user, window=window, first_scheduled_s=scheduled_s, end_s=end_s)
    choices = replace(
        scored.section(Choices),
        delivery=scenario.delivery.model_dump(exclude_none=True),
        router=router_choice(scenario),
        measured_from=scenario.measured_from,
    )
    made = [choices, *_made_sections(delivered, record, scenario)]
    classes = classes_of(record, scenario, last)
    if Agents.applies(scenario):
        made.append(agents_of(whole, record, last, classes))
    if answered := quality_of(whole, record, scenario, last, classes, slo):
        made.append(answered)
    made += class_sections(whole, classes, window=window, first_scheduled_s=scheduled_s, end_s=end_s)
    return Score.of({**scored.sections, **sections_of_run(Run(record, scenario))}).having(*made)


def _made_sections(delivered: Timelines, record: Record, scenario: Scenario) -> Iterator[Section]:
    """Sections that need more than a run's record and scenario."""
    if told := prediction_of(record, scenario):
        yield told
    if make_api(scenario) != DIRECT:
        yield EngineTtft.of(record)
    if drawn := energy_of(record, scenario, int(ranges.n_tokens(delivered).sum())):
        yield drawn
    if scenario.autoscaling is not None:
        yield autoscaling_score(record, scenario, int(ranges.n_tokens(delivered).sum()))
