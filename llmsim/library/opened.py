"""Open a result, simulated or measured, with what is needed to score it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsim.errors import InputError

if TYPE_CHECKING:
    from llmsim.experiment import Result
    from llmsim.interop.measured import Load, MeasuredResult
    from llmsim.interop.measured_score import FileSummary
    from llmsim.interop.saving import Served
    from llmsim.library.bounds import Choices
    from llmsim.metrics.audit import Audit
    from llmsim.metrics.kpi import Section
    from llmsim.metrics.request_table import RequestRow
    from llmsim.metrics.score import Score
    from llmsim.metrics.scored import OfClass
    from llmsim.metrics.sections.prediction import Prediction
    from llmsim.metrics.sections.reasons import Reasons
    from llmsim.metrics.smooth_goodput import User
    from llmsim.metrics.window import Window
    from llmsim.record import Floats, Record, Timelines
    from llmsim.scenario import Scenario
    from llmsim.scheduler import Scheduler
    from llmsim.slo import Slo
    from llmsim.statistics import Verdict

#: schedulers that serve first come, first served; the first one in place of those that do not
FIRST_COME = ("chunked_prefill", "fcfs", "static")
SEATS_AND_BUDGET = ("max_num_seqs", "max_num_batched_tokens")
#: up to this many requests, each gets a row of a score
FEW_REQUESTS = 20


@dataclass(frozen=True, eq=False)
class LoadedResult:
    """Delivered token times, and by which bounds, reader and window to judge them."""

    name: str
    source: str  #: what the times are, in words
    timelines: Timelines | None  #: None: of a measured run only aggregates are known
    slo: Slo | None
    user: User
    window: Window
    first_scheduled_s: Floats | None = None
    end_s: float | None = None  #: when the run ended, where that is known
    #: classes of requests by name
    classes: Mapping[str, OfClass] = field(default_factory=dict)
    #: what policies were told of output lengths, where they were told anything
    prediction: Prediction | None = None
    #: why requests were not served, in the words of the policy that decided it
    reasons: Reasons | None = None
    #: says whether a simulated run was steady within the window; None: measured
    judge: Callable[[], Verdict] | None = None
    #: the same requests served otherwise, by name: for audits of what can be simulated
    others: Mapping[str, Timelines] = field(default_factory=dict)
    first_come: Timelines | None = None  #: the same requests first come, first served, if they were not
    measured: MeasuredResult | None = None  #: of a file: what it says besides, and what it does not

    def requests(self, purpose: str) -> Timelines:
        """The timelines; InputError where the file has no requests one by one."""
        if self.measured is not None:
            return self.measured.requests(Path(self.name), purpose)
        assert self.timelines is not None
        return self.timelines

    def score(self, *, forms: bool = False) -> Score:
        """Every default metric, and what it rests on; with `forms` those of other papers."""
        from llmsim.interop.measured_score import with_what_is_known
        from llmsim.metrics.score import class_sections, score
        from llmsim.metrics.sections.choices import Choices
        from llmsim.metrics.sections.verdict import RunVerdict

        assert self.timelines is not None
        scheduled_s, end_s = self.first_scheduled_s, self.end_s
        user, window = self.user, self.window
        values = score(
            self.timelines,
            slo=self.slo,
            user=user,
            window=window,
            first_scheduled_s=scheduled_s,
            end_s=end_s,
            forms=forms,
        )
        made: list[Section] = [replace(values.section(Choices), times=self.source)]
        made += class_sections(self.timelines, self.classes, window=window, first_scheduled_s=scheduled_s, end_s=end_s)
        if self.prediction is not None:
            made.append(self.prediction)
        if self.reasons is not None:
            made.append(self.reasons)
        if self.judge is not None:
            made.append(RunVerdict.of(self.judge()))
        values = values.having(*made)
        return values if self.measured is None else with_what_is_known(values, self.measured, window)

    def summary(self) -> FileSummary:
        """What can be said of a file that has no requests one by one."""
        from llmsim.interop.measured_score import FileSummary

        assert self.measured is not None
        return FileSummary.of(self.measured)


def open_results(path: Path, choices: Choices, run: str | None = None, kind: str | None = None) -> list[LoadedResult]:
    """Open a folder that llmsim run has written, or runs of a file of measured results: all, unless `run` says one."""
    from llmsim.library.bounds import run_of_file

    number = run_of_file(run)
    if path.is_dir():
        if number is not None and number > 1:
            raise InputError(f"--run {run}: {path} is one run of llmsim")
        return [_opened_run(path, choices)]
    from llmsim.interop.format import choose, read_runs

    runs = read_runs(path, kind)
    chosen = runs if number is None else [choose(path, runs, number)]
    return [_opened_measured(path, one, choices) for one in chosen]


def open_result(path: Path, choices: Choices, run: str | None = None) -> LoadedResult:
    """Open one run; InputError where there are several and `run` does not say which."""
    opened = open_results(path, choices, run)
    if len(opened) > 1:
        raise InputError(f"{path}: holds {len(opened)} runs; say which: --run 1 to --run {len(opened)}")
    return opened[0]


def _opened_measured(path: Path, measured: MeasuredResult, choices: Choices) -> LoadedResult:
    from llmsim.metrics.smooth_goodput import User

    slo = choices.slo_or(None)
    if slo is not None and slo.tbt_s is not None and "tbt_s" in measured.unknown:
        raise InputError(f"{path}: --tbt-s cannot be judged: gaps between tokens are not in the file")
    return LoadedResult(
        name=str(path) if measured.runs == 1 else f"{path}, run {measured.run} of {measured.runs}",
        source=f"as delivered to the client ({measured.source})",
        timelines=measured.timelines,
        slo=slo,
        user=choices.user_or(User()),
        window=choices.window_or(measured.window),
        measured=measured,
    )


def run_scenario(
    name: str, choices: Choices, changes: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> LoadedResult:
    """Run a scenario, and open what happened; and what would have, had the server given up on requests that miss."""
    from llmsim import experiment
    from llmsim.metrics.audit import ABANDONED, UNDRAFTED
    from llmsim.scenario import load_scenario

    scenario = load_scenario(name, changes)
    opened = _of_run(name, scenario, experiment.run(scenario, progress=progress).record, choices)
    if scenario.scheduler.name not in FIRST_COME and scenario.cluster.engine is None and not scenario.pool:
        opened = replace(opened, first_come=_first_come(name, scenario, changes, progress))
    others: dict[str, Timelines] = {}
    if (scenario.slo.ttft_s or scenario.slo.e2e_s) and scenario.abandonment.policy == "never":
        giving_up = load_scenario(name, [*changes, "abandonment.policy=missed"])
        others[ABANDONED] = _delivered(giving_up, progress)
    if scenario.speculates:
        others[UNDRAFTED] = _delivered(_without_drafts(scenario), progress)
    return replace(opened, others=others)


def _delivered(scenario: Scenario, progress: Callable[[int, int], None] | None) -> Timelines:
    from llmsim import experiment

    other = experiment.run(scenario, progress=progress)
    return experiment.as_asked(other.delivered, other.record, scenario)[0]


def _without_drafts(scenario: Scenario) -> Scenario:
    """The same without speculation; under vLLM's scheduler if its own decides what is drafted."""
    from llmsim.scenario import SchedulerChoice

    plain = scenario.model_copy(update={"speculation": None})
    if not _policy(scenario).needs_speculation:
        return plain
    chosen = {"name": FIRST_COME[0], **_seats_and_budget(scenario)}
    return plain.model_copy(update={"scheduler": SchedulerChoice.model_validate(chosen)})


def _policy(scenario: Scenario) -> type[Scheduler]:
    from llmsim import discovery
    from llmsim.scheduler import Scheduler

    return discovery.find("llmsim.schedulers", scenario.scheduler.name, Scheduler)


def _seats_and_budget(scenario: Scenario) -> dict[str, Any]:
    """What another scheduler must have of these: what is given, and that which speculation was checked against."""
    policy, given = _policy(scenario), scenario.scheduler.options
    defaults = {key: getattr(policy, key) for key in SEATS_AND_BUDGET} if policy.needs_speculation else {}
    return defaults | {key: value for key, value in given.items() if key in SEATS_AND_BUDGET}


def _first_come(
    name: str, scenario: Scenario, changes: Sequence[str], progress: Callable[[int, int], None] | None
) -> Timelines:
    """Serve the same requests first come, first served, with the seats and the token budget that the policy has."""
    from llmsim.scenario import load_scenario

    kept = _seats_and_budget(scenario)
    options = "".join(f", {key} = {value}" for key, value in kept.items())
    plain = load_scenario(name, [*changes, f'scheduler={{name = "{FIRST_COME[0]}"{options}}}'])
    return _delivered(plain, progress)


def _opened_run(folder: Path, choices: Choices) -> LoadedResult:
    from llmsim import experiment

    return _of_run(str(folder), experiment.read_scenario(folder), experiment.read_record(folder), choices)


def _of_run(name: str, scenario: Scenario, record: Record, choices: Choices) -> LoadedResult:
    from llmsim import experiment
    from llmsim.metrics.sections.reasons import Reasons
    from llmsim.metrics.window import run_end_s

    delivered = experiment.delivered(scenario, record)
    whole, last = experiment.as_asked(delivered, record, scenario)
    window, reader = choices.window_or(experiment.make_window(scenario)), experiment.make_user(scenario)
    return LoadedResult(
        name=name,
        source=f"as delivered ({scenario.delivery.policy}) by a simulated run of {scenario.name}"
        + (", waits from sending" if scenario.measured_from == "sent" else ""),
        timelines=whole,
        slo=choices.slo_or(experiment.make_slo(scenario)),
        user=choices.user_or(reader),
        window=window,
        first_scheduled_s=record.requests["first_scheduled_s"][last],
        end_s=max(record.end_s, run_end_s(delivered)),
        classes={
            name: replace(each, slo=choices.slo_or(each.slo), user=choices.user_or(each.user or reader))
            for name, each in experiment.classes_of(record, scenario, last).items()
        },
        prediction=experiment.prediction_of(record, scenario),
        reasons=Reasons.count(record),
        judge=partial(experiment.verdict_of, scenario, record, delivered, window),
    )


def served_of(result: Result) -> Served:
    """A run as its clients saw it, with why requests were not served, for files of benchmarks."""
    from llmsim.interop.saving import Served
    from llmsim.request import Outcome

    record, scenario = result.record, result.scenario
    requests, names = record.requests, [outcome.name.lower() for outcome in Outcome]
    errors = [
        "" if outcome == Outcome.FINISHED else record.reasons[reason] or names[outcome]
        for outcome, reason in zip(requests["outcome"].tolist(), requests["reason"].tolist(), strict=True)
    ]
    models = " and ".join(dict.fromkeys(cluster.model for _, cluster in scenario.pools))
    return Served(result.delivered, models, _load_of(scenario), errors, scenario.seed)


def _load_of(scenario: Scenario) -> Load:
    """How its clients send, in a benchmark's words."""
    from llmsim.interop.measured import Load

    arrivals = getattr(scenario.workload, "arrivals", None)
    cap = getattr(arrivals, "concurrency", None) or scenario.clients.max_in_flight
    shape = {"poisson": 1.0, "constant": math.inf, "gamma": getattr(arrivals, "burstiness", None)}
    process = getattr(arrivals, "process", "")
    return Load(getattr(arrivals, "rate_per_s", None), shape.get(process), cap)


def audited(opened: LoadedResult, pace_s: float | None = None) -> Audit:
    """Audit what was opened; InputError where it lacks token times, or an SLO."""
    import numpy as np

    from llmsim.metrics.audit import audit
    from llmsim.metrics.class_audit import class_changes
    from llmsim.metrics.scored import OfClass

    timelines = opened.requests("an audit")
    if opened.measured is not None and "tbt_s" in opened.measured.unknown:
        raise InputError(f"{opened.name}: an audit needs the time of every token, which is not in the file")
    if opened.slo is None:
        raise InputError(f"{opened.name}: an audit needs an SLO; give --ttft-s, --tbt-s, --tpot-s or --e2e-s")
    made = audit(
        timelines,
        slo=opened.slo,
        user=opened.user,
        window=opened.window,
        end_s=opened.end_s,
        pace_s=pace_s,
        others=opened.others,
    )
    if opened.first_come is None:
        return made
    classes = opened.classes or {"all": OfClass(np.ones(len(timelines), dtype=np.bool_), opened.slo, opened.user)}
    changes = class_changes(timelines, opened.first_come, classes, window=opened.window, end_s=opened.end_s)
    return replace(made, classes=changes)


@dataclass(frozen=True)
class Scored:
    """The score of one result, and a row for each request where there are few."""

    name: str
    score: Score | FileSummary
    per_request: list[RequestRow] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        rows = {} if self.per_request is None else {"per_request": [row.to_dict() for row in self.per_request]}
        return {"name": self.name, **self.score.to_dict(), **rows}


def scored(opened: LoadedResult, *, forms: bool = False) -> Scored:
    """Score what was opened, P99s marked if they are not to be relied on, and each request where there are few.

    `forms`: by the rules of other papers, too.
    """
    if forms:
        opened.requests("--all")
        if opened.measured is not None and "tbt_s" in opened.measured.unknown:
            raise InputError(f"{opened.name}: --all needs the time of every token, which is not in the file")
    if opened.timelines is None:
        return Scored(opened.name, opened.summary(), None)
    from llmsim import experiment
    from llmsim.metrics.request_table import request_table

    found = opened.score(forms=forms)
    if "verdict" in found:  # what its requests met is told, whatever it is worth, and marked
        found = experiment.reported(found, force=True)
    exact = opened.measured is None or not opened.measured.unknown
    if not exact or len(opened.timelines) > FEW_REQUESTS:
        return Scored(opened.name, found, None)
    return Scored(opened.name, found, request_table(opened.timelines, opened.user, opened.slo))


def show_scored(one: Scored) -> None:
    """Print the table of a score."""
    from llmsim.reports.tables.file_summary_tables import show_file_summary
    from llmsim.reports.tables.run_tables import show_score

    if isinstance(one.score, Mapping):
        show_score(one.name, one.score, one.per_request)
    else:
        show_file_summary(one.name, one.score)
