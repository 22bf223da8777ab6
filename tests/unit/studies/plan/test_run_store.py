from __future__ import annotations

import json
import math
from pathlib import Path

from llmsim.scenario import load_scenario
from llmsim.studies.kept_runs import KeptRuns
from llmsim.studies.plan.measured_runs import MeasuredPoint
from llmsim.studies.plan.run_store import RunStore

POINT = MeasuredPoint(1, 100, "steady", "", {"ttft_s.p90": math.inf, "tpot_s.p50": 0.02}, {"requests": 100})


def test_a_kept_run_is_read_again_and_a_changed_one_is_made_anew(tmp_path: Path) -> None:
    scenarios, made = [load_scenario("quickstart")], []

    def measure(asked):
        made.append(len(asked))
        return [POINT for _ in asked]

    def again() -> list[MeasuredPoint]:
        return RunStore(KeptRuns(tmp_path), ["ttft_s.p90 <= 1"]).through(measure)(scenarios)

    assert again() == again() == [POINT]
    assert made == [1, 0]
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    for changed in (
        kept | {"point": kept["point"] | {"answer": "overloaded"}},
        {name: value for name, value in kept.items() if name != "sha256"},
        kept | {"key": "0" * 32},
    ):
        file.write_text(json.dumps(changed))
        assert again() == [POINT]
    assert made == [1, 0, 1, 1, 1]
