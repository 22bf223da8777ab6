"""How good answers were, and what they cost: the plane of RouterBench (arXiv 2403.12031), with queues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.metrics.kpi import LESS, MORE, Kpi, Section
from llmsim.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class AnswerQuality(Section):
    """Worth of answers, 0 to 1, and GPU time, of all requests of the run; what was not answered is worth 0."""

    key: ClassVar[str] = "quality"

    mean: Annotated[float, Kpi("quality of answers", "", "ratio", MORE, short="quality")]
    #: answers that miss their SLO are worth 0, too
    within_slo: Annotated[float, Kpi("quality of answers within their SLO", "", "ratio", MORE)]
    #: answers that each pool gave, those in vain included, for each request
    answers_of: Annotated[Mapping[str, float], Kpi("answers for each request", "", "ratio")]
    #: how many models answered a request in vain, on average
    passed_on: Annotated[float, Kpi("answers passed on to another model", "", "ratio", LESS)]
    #: in steps, of all models that answered (`metrics.gpu_time`)
    gpu_s_per_request: Annotated[float, Kpi("GPU time of a request", "s", "cost", LESS)]
    #: of all instances, busy or idle, until the last request ended
    paid_gpu_s_per_request: Annotated[float, Kpi("paid GPU time of a request", "s", "cost", LESS)]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether the scenario says how good answers are."""
        return scenario.quality is not None
