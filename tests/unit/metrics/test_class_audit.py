"""Which classes gain and which pay, by hand."""

from __future__ import annotations

import numpy as np
import pytest

import llmsim
from llmsim.metrics.class_audit import class_changes
from llmsim.metrics.scored import OfClass
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import Window
from llmsim.record import Timelines
from llmsim.reports.tables.audit_tables import findings
from llmsim.slo import Slo

READER = User(tokens_per_s=1.0, alpha=1.0)
WINDOW = Window(start_s=0.0, end_s=100.0)
URGENT, OTHER = np.array([True, True, False]), np.array([False, False, True])


def changes(served, first_come, slo=Slo(ttft_s=2.0)):  # noqa: B008 - frozen
    timelines = [Timelines.from_token_times([0.0] * 3, times) for times in (served, first_come)]
    classes = {"urgent": OfClass(URGENT, slo, READER), "other": OfClass(OTHER, Slo(ttft_s=9.0), READER)}
    return class_changes(*timelines, classes, window=WINDOW)


def test_one_class_is_served_better_at_the_cost_of_another():
    """Tokens are due 1 s apart from the arrival on. First come: 4 s late, twice, and in time; then the other way."""
    urgent, other = changes([[1.0, 2.0], [1.0, 2.0], [11.0, 12.0]], [[5.0, 6.0], [5.0, 6.0], [1.0, 2.0]])

    assert (urgent.attainment_first_come, urgent.attainment) == (0.0, 1.0)
    assert (urgent.benefit_first_come_tokens, urgent.benefit_tokens) == (2 * (2 - 4), 2 * 2)
    assert (urgent.users.better, urgent.users.worse, urgent.users.gain_tokens) == (2, 0, 8.0)
    assert (other.attainment_first_come, other.attainment) == (1.0, 0.0)
    assert (other.users.better, other.users.worse, other.users.gain_tokens) == (0, 1, -10.0)
    assert (urgent.gains, urgent.pays, other.gains, other.pays) == (True, False, False, True)


def test_what_changes_nothing_gains_and_costs_nothing():
    urgent, other = changes(*[[[1.0, 2.0], [5.0, 6.0], [1.0, 2.0]]] * 2)

    assert not any((urgent.gains, urgent.pays, other.gains, other.pays))
    assert urgent.users.same == 2


CLASSES = '[{name="chat", weight=1.0, slo={ttft_s=1.0}}, {name="batch", weight=2.0, priority=1, slo={ttft_s=20.0}}]'
OVERLOADED = ["workload.requests=120", "workload.arrivals.rate_per_s=20.0", f"workload.classes={CLASSES}"]


def test_an_audit_says_at_whose_cost_a_policy_serves_a_class():
    by_priority = llmsim.audit("quickstart", [*OVERLOADED, "scheduler.name=priority", "scheduler.max_num_seqs=16"])
    words = findings(by_priority.audit)

    assert [each["name"] for each in by_priority.score["classes"]] == ["chat", "batch"]
    assert words[-1] == "chat is served better, at the cost of batch."
    assert words[-2].startswith("Against first come, first served (simulated), batch: ")


def test_what_is_served_first_come_first_served_is_not_compared_with_itself():
    plain = llmsim.audit("quickstart", OVERLOADED)

    assert "classes" not in plain.score
    assert not any("first come" in words for words in findings(plain.audit))


def test_best_effort_pays_where_there_are_no_classes():
    slos = ["workload.requests=150", "workload.arrivals.rate_per_s=12.0", "slo.ttft_s=0.5", "slo.tpot_s=0.05"]
    (whole,) = llmsim.audit("quickstart", [*slos, "scheduler.name=slos_serve"]).audit.classes

    assert whole.name == "all"
    assert whole.requests == pytest.approx(150, abs=30)
    assert whole.gains
    assert whole.users.worse > 0
