"""`bench decisions`: every scheduler is timed, by how many requests it had to look at."""

from __future__ import annotations

import json
from contextlib import nullcontext

from llmsim.studies.bench.decision_times import SCHEDULERS, decisions


def test_every_scheduler_has_decisions_with_few_requests():
    found = decisions(12, watch=lambda name: nullcontext(lambda done, total: None))

    assert [each.scheduler for each in found if each.requests == (1, 16)] == list(SCHEDULERS)
    assert all(0 < each.mean_s <= each.p99_s < 1 and each.decisions > 0 for each in found)


def test_it_is_run_by_itself_and_prints_json(run_cli):
    printed = json.loads(run_cli("bench", "decisions", "--requests", "12", "--json"))

    assert {each["scheduler"] for each in printed["decisions"]} == set(SCHEDULERS)
