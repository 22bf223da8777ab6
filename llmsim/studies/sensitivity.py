"""Does a result hang on a small error of the step times? The same requests, all steps a little faster or slower."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from llmsim import experiment
from llmsim.experiment.own_files import OwnClasses
from llmsim.metrics.sections.latencies import Latencies
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.scenario import Scenario
from llmsim.statistics import STEADY

ERROR = 0.05  #: of all step times: about what is known of them at best (docs/background/accuracy.md)
#: a result hangs on step times if its TTFT P99 changes by more than so many times their error
HANGS = 4.0


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


def _found(result: experiment.Result) -> tuple[float | None, str]:
    """TTFT P99 of a run, if it was steady, and its verdict."""
    verdict, ttft_s = result.score.section(RunVerdict).answer, result.score.section(Latencies).ttft_s
    return (ttft_s.p99 if ttft_s is not None and verdict == STEADY else None), verdict
