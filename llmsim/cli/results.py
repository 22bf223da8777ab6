"""Open a result, simulated or measured, with what is needed to score it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsim.cli.choices import Choices
    from llmsim.metrics.ranges import Bools
    from llmsim.metrics.slo import Slo
    from llmsim.metrics.smooth_goodput import User
    from llmsim.metrics.window import Window
    from llmsim.record import Floats, Record, Timelines
    from llmsim.scenario import Scenario
    from llmsim.statistics import Verdict


@dataclass(frozen=True, eq=False)
class Opened:
    """Delivered token times, and by which bounds, reader and window to judge them."""

    name: str
    source: str  #: what the times are, in words
    timelines: Timelines
    slo: Slo | None
    user: User
    window: Window
    first_scheduled_s: Floats | None = None
    end_s: float | None = None  #: when the run ended, where that is known
    #: classes of requests by name: which they are, and their SLO
    classes: Mapping[str, tuple[Bools, Slo | None]] = field(default_factory=dict)
    #: what policies were told of output lengths, where they were told anything
    prediction: Mapping[str, Any] | None = None
    #: says whether a simulated run was steady within the window; None: measured
    judge: Callable[[], Verdict] | None = None
    #: the same requests served otherwise, by name: for audits of what can be simulated
    others: Mapping[str, Timelines] = field(default_factory=dict)

    def score(self) -> dict[str, Any]:
        """Every default metric, and what it rests on."""
        from llmsim.metrics.score import score, score_classes

        scheduled_s, end_s = self.first_scheduled_s, self.end_s
        user, window = self.user, self.window
        values = score(
            self.timelines, slo=self.slo, user=user, window=window, first_scheduled_s=scheduled_s, end_s=end_s
        )
        if self.classes:
            values["classes"] = score_classes(
                self.timelines, self.classes, user=user, window=window, first_scheduled_s=scheduled_s, end_s=end_s
            )
        if self.prediction is not None:
            values["prediction"] = dict(self.prediction)
        if self.judge is not None:
            values["verdict"] = self.judge().to_dict()
        values["choices"]["times"] = self.source
        return {"name": self.name, **values}


def open_result(path: Path, choices: Choices, kind: str | None = None) -> Opened:
    """Open a folder that llmsim run has written, or a file of measured results."""
    if path.is_dir():
        return _opened_run(path, choices)
    from llmsim.interop.detect import read_measured
    from llmsim.metrics.smooth_goodput import User

    measured = read_measured(path, kind)
    return Opened(
        name=str(path),
        source=f"as delivered to the client ({measured.source})",
        timelines=measured.timelines,
        slo=choices.slo_or(None),
        user=choices.user_or(User()),
        window=choices.window_or(measured.window),
    )


def run_scenario(
    name: str, choices: Choices, changes: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> Opened:
    """Run a scenario, and open what happened; and what would have, had the server given up on requests that miss."""
    from llmsim import experiment
    from llmsim.metrics.audit import ABANDONED
    from llmsim.scenario import load_scenario

    scenario = load_scenario(name, changes)
    opened = _of_run(name, scenario, experiment.run(scenario, progress=progress).record, choices)
    bounded = scenario.slo.ttft_s or scenario.slo.e2e_s
    if not bounded or scenario.abandonment.policy != "never":
        return opened
    giving_up = load_scenario(name, [*changes, "abandonment.policy=missed"])
    others = {ABANDONED: experiment.run(giving_up, progress=progress).delivered}
    return replace(opened, others=others)


def _opened_run(folder: Path, choices: Choices) -> Opened:
    from llmsim import experiment

    return _of_run(str(folder), experiment.read_scenario(folder), experiment.read_record(folder), choices)


def _of_run(name: str, scenario: Scenario, record: Record, choices: Choices) -> Opened:
    from llmsim import experiment
    from llmsim.metrics.window import run_end_s

    delivered = experiment.delivered(scenario, record)
    window = choices.window_or(experiment.make_window(scenario))
    return Opened(
        name=name,
        source=f"as delivered ({scenario.delivery.policy}) by a simulated run of {scenario.name}"
        + (", waits from sending" if scenario.measured_from == "sent" else ""),
        timelines=delivered,
        slo=choices.slo_or(experiment.make_slo(scenario)),
        user=choices.user_or(experiment.make_user(scenario)),
        window=window,
        first_scheduled_s=record.requests["first_scheduled_s"],
        end_s=max(record.end_s, run_end_s(delivered)),
        classes={
            name: (mine, choices.slo_or(slo)) for name, (mine, slo) in experiment.classes_of(record, scenario).items()
        },
        prediction=experiment.prediction_of(record, scenario),
        judge=partial(experiment.judged, scenario, record, delivered, window),
    )
