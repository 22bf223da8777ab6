"""What a score says beside the requests as a whole: each class by itself, and what policies were told of lengths."""

from __future__ import annotations

import numpy as np

from llmsim.experiment.assemble import make_slo
from llmsim.metrics.ranges import Bools
from llmsim.metrics.sections.prediction import Prediction
from llmsim.metrics.slo import Slo
from llmsim.metrics.summary import number
from llmsim.record import Record
from llmsim.scenario import Scenario


def classes_of(record: Record, scenario: Scenario) -> dict[str, tuple[Bools, Slo]]:
    """Tell which requests each class has, (requests,), and its SLO: its own, or the scenario's. By name."""
    return {
        each.name: (record.requests["class"] == number, make_slo(scenario, each))
        for number, each in enumerate(scenario.workload.classes)
    }


def prediction_of(record: Record, scenario: Scenario) -> Prediction | None:
    """Describe what policies were told of output lengths; None where they were told nothing."""
    predicted = record.requests.get("predicted_output_tokens")
    if predicted is None:
        return None
    error = np.abs(predicted - record.requests["output_tokens"])
    return Prediction(
        **scenario.prediction.model_dump(),
        oracle=scenario.prediction.is_oracle,
        mean_absolute_error_tokens=number(float(error.mean())),
    )
