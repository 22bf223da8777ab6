"""Does a result hang on a small error of the step times? The same requests, all steps a little faster or slower.

Where seats bind it does: requests stay a little longer in all of them, and those that wait wait for a seat.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from llmsim import experiment
from llmsim.experiment.instances import make_instances
from llmsim.experiment.own_files import OwnClasses
from llmsim.metrics.sections.latencies import Latencies
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.scenario import Scenario
from llmsim.statistics import STEADY

ERROR = 0.05  #: of all step times: about what is known of them at best (docs/background/accuracy.md)
#: a result hangs on step times if its TTFT P99 changes by more than so many times their error
HANGS = 4.0
#: seats are nearly full from this share of them on; a run is looked at by itself if they are for this share of its time
NEARLY_FULL, OFTEN = 0.9, 0.01
MOST_REQUESTS = 20_000  #: of a run that is looked at by itself: that takes two more runs


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """TTFT P99 of a run, and with all step times off by `ERROR`; seconds, None unless the run was steady."""

    faster_s: float | None
    as_is_s: float | None
    slower_s: float | None
    verdicts: tuple[str, str, str]  #: of the three runs, in this order

    @property
    def hangs(self) -> bool:
        """Whether the result is another one within the error."""
        if self.faster_s is None or self.as_is_s is None or self.slower_s is None or len(set(self.verdicts)) > 1:
            return True
        change = max(self.slower_s / self.as_is_s, self.as_is_s / self.faster_s) - 1
        return change > HANGS * ERROR

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return {"step_time_error": ERROR, **asdict(self), "hangs_on_step_times": self.hangs}

    def __str__(self) -> str:
        said = ", ".join(
            f"{'none' if value is None else f'{value:.3g} s'} ({verdict})"
            for value, verdict in zip((self.faster_s, self.as_is_s, self.slower_s), self.verdicts, strict=True)
        )
        percent = f"{100 * ERROR:.0f} %"
        end = "it hangs on step times, which are not known better" if self.hangs else "it does not hang on step times"
        return f"TTFT p99 with step times {percent} shorter, as they are, {percent} longer: {said}; {end}"


def sensitivity(scenario: Scenario, result: experiment.Result, classes: OwnClasses) -> Sensitivity:
    """Run a scenario twice more, with shorter and with longer steps; `classes` as its run had them."""
    faster, slower = (experiment.run(scenario, **classes, step_time_factor=1 + by) for by in (-ERROR, ERROR))
    (first, as_is, last) = map(_found, (faster, result, slower))
    return Sensitivity(first[0], as_is[0], last[0], (first[1], as_is[1], last[1]))


def nearly_full(result: experiment.Result, classes: OwnClasses) -> float:
    """Share of the instances' busy time, until the last arrival, in which a tenth of the seats or less is free.

    0 for schedulers without seats, and for runs that are not steady, whose P99s say nothing.
    """
    record = result.record
    if result.score.section(RunVerdict).answer != STEADY:
        return 0.0
    specs = make_instances(result.scenario, classes.get("scheduler"), classes.get("latency"))
    seats = np.array([spec.scheduler.most_running or np.inf for spec in specs])
    steps = record.steps
    instance = np.minimum(steps["instance"], len(seats) - 1)  # those that autoscaling adds are like the last one
    took_s = np.where(steps["start_s"] <= record.requests["arrival_s"].max(), steps["end_s"] - steps["start_s"], 0.0)
    return float(took_s[steps["running"] >= NEARLY_FULL * seats[instance]].sum() / max(took_s.sum(), 1e-300))


def of_itself(result: experiment.Result, classes: OwnClasses) -> str:
    """What a run near its full seats has to say without being asked, in one line; "" for all others."""
    share = nearly_full(result, classes)
    if share < OFTEN:
        return ""
    said = f"seats are nearly full {100 * share:.0f} % of the time"
    if len(result.record.requests["arrival_s"]) > MOST_REQUESTS:
        return f"{said}: does TTFT hang on step times? --sensitivity tells (two more runs)"
    return f"{said}. {sensitivity(result.scenario, result, classes)}"


def _found(result: experiment.Result) -> tuple[float | None, str]:
    """TTFT P99 of a run, if it was steady, and its verdict."""
    verdict, ttft_s = result.score.section(RunVerdict).answer, result.score.section(Latencies).ttft_s
    return (ttft_s.p99 if ttft_s is not None and verdict == STEADY else None), verdict
