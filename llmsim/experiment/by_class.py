"""What a score says beside the requests as a whole: each class by itself, and what policies were told of lengths."""

from __future__ import annotations

import numpy as np

from llmsim.experiment.parts import make_slo, make_user
from llmsim.metrics import ranges
from llmsim.metrics.ranges import Bools
from llmsim.metrics.scored import OfClass
from llmsim.metrics.sections.agents import Agents
from llmsim.metrics.sections.prediction import Prediction
from llmsim.metrics.slo import meets
from llmsim.metrics.summary import number
from llmsim.record import Record, Timelines
from llmsim.request import Outcome
from llmsim.scenario import Scenario


def classes_of(record: Record, scenario: Scenario, last: Bools) -> dict[str, OfClass]:
    """Tell which requests each class has, of those that `last` selects, and its SLO and reader, by name.

    The SLO and the reader are its own, or the scenario's.
    """
    return {
        each.name: OfClass(
            record.requests["class"][last] == number, make_slo(scenario, each), make_user(scenario, each)
        )
        for number, each in enumerate(scenario.workload.classes)
    }


def agents_of(whole: Timelines, record: Record, last: Bools, classes: dict[str, OfClass]) -> Agents:
    """Measure conversations by the SLOs of their stages; `whole` has a row for each request that `last` selects."""
    in_time = np.zeros(len(whole), np.bool_)
    for each in classes.values():
        assert each.slo is not None
        in_time[each.mine] = meets(ranges.select(whole, each.mine), each.slo)
    conversation, turns = (record.requests[name][last] for name in ("conversation", "turns"))
    served = whole.outcome == Outcome.FINISHED
    return Agents.of(conversation, turns, whole.arrival_s, whole.end_s, served, in_time)


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
