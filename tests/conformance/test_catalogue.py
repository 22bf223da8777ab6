"""The catalogue has every number of every score, and nothing else; a new metric is one file, from inside or outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.metrics import catalogue
from llmsim.metrics.score import Score
from llmsim.metrics.score import score as score_of
from llmsim.metrics.sections.other_forms import OtherForms
from llmsim.metrics.smooth_goodput import User
from llmsim.scenario import load_scenario
from llmsim.slo import Slo
from places import ROOT

CLASSES = '[{name = "a", weight = 0.5}, {name = "b", weight = 0.5, slo = {ttft_s = 0.5, tbt_s = 0.1}}]'
EVERY_BOUND = ("slo.tpot_s=0.1", "slo.e2e_s=30", "slo.token_deadline_s=0.1")
#: read as a trace whose rows may have hash_ids
TRACE = (
    '{trace = "scenarios/traces/sample_code.jsonl", format = "mooncake", time_unit = "s", columns = {'
    'arrival = "arrival_s", prompt_tokens = "prompt_tokens", output_tokens = "output_tokens"}}'
)
#: small runs that together have every section of a score
RUNS = {
    "quickstart": ("workload.requests=100", *EVERY_BOUND),
    "overloaded": ("workload.requests=100", "clients.max_in_flight=20", f"workload.classes={CLASSES}"),
    "autoscaling": ("workload.requests=600",),
    "disaggregated": ("workload.requests=60",),
    "gateway": ("workload.requests=60",),
    "heterogeneous": ("workload.requests=120",),
    "patience": ("workload.requests=60", "retries.max_attempts=3", "patience.first_token.mean_s=0.5", "window={}"),
    "predicted_lengths": ("workload.requests=60", "prediction={predictor='noisy', sigma=0.5}"),
    "prefix_caching": ("workload.requests=60", "energy.usd_per_kwh=0.1"),
    "sessions": ("workload.requests=100",),
    "speculation": ("workload.requests=60",),
    "related/agents": ("workload.requests=60", "window={}"),
    "related/routing": ("workload.requests=60",),
    "azure_code": (f"workload={TRACE}", "cluster.prefix_caching=true"),
}
KEYS = Path(__file__).parents[1] / "golden" / "score_keys.json"


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        results = {name: experiment.run(load_scenario(name, list(changes))) for name, changes in RUNS.items()}
    finally:
        os.chdir(before)
    one = results["quickstart"]
    scheduled_s = one.record.requests["first_scheduled_s"]
    every = score_of(one.delivered, slo=Slo(1.0, 0.2), user=User(), forms=True, first_scheduled_s=scheduled_s)
    scores = {name: result.score for name, result in results.items()}
    return scores | {"quickstart": one.score.having(every.section(OtherForms))}


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_every_number_of_a_score_is_in_the_catalogue(scores):
    settings = ("choices.", "slo.bounds.")
    for name, score in scores.items():
        for key, value in catalogue.leaves(score.to_dict()):
            of_class = key.split(".", 2)[-1] if key.startswith("classes.") else key
            if is_number(value) and not of_class.startswith(settings):
                assert catalogue.kpi_of(key).name, (name, key)


def test_every_kpi_occurs_in_some_score(scores):
    known = set(catalogue.kpis())
    for score in scores.values():
        for key, _ in catalogue.leaves(score.to_dict()):
            if not key.startswith(("choices.", "classes.")):
                known -= {key} | {other for other in known if "*" in other and matches(other, key)}

    assert known == set()


def matches(pattern: str, key: str) -> bool:
    one, other = pattern.split("."), key.split(".")
    return len(one) == len(other) and all(a in ("*", b) for a, b in zip(one, other, strict=True))


def test_the_keys_of_scores_have_not_changed(scores):
    """Kept from before scores were typed. LLMSIM_REFRESH_GOLDEN=1 writes them anew, if a change is meant."""
    found = {name: [key for key, _ in catalogue.leaves(score.to_dict())] for name, score in scores.items()}
    if os.environ.get("LLMSIM_REFRESH_GOLDEN"):
        KEYS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    assert found == json.loads(KEYS.read_text(encoding="utf-8"))


def test_a_score_comes_back_from_its_json(scores):
    for name, score in scores.items():
        for shown in (score, experiment.reported(score), experiment.reported(score, force=True)):
            text = json.dumps(shown.to_dict(), allow_nan=False)
            assert json.dumps(Score.from_dict(json.loads(text)).to_dict()) == text, name


def test_an_unknown_metric_has_the_nearest_name():
    with pytest.raises(InputError, match=r"unknown metric ttft_s\.p98.*ttft_s\.p9"):
        catalogue.kpi_of("ttft_s.p98")


def test_units_and_directions_are_told_of_single_numbers():
    ttft, share, count = (catalogue.kpi_of(key) for key in ("ttft_s.p99", "slo.attainment", "ttft_s.n"))

    assert (ttft.name, ttft.unit, ttft.shown_unit, ttft.factor, ttft.better, ttft.tail) == (
        *("TTFT p99", "s", "ms", 1e3), -1, True
    )  # fmt: skip
    assert (share.better, share.factor, share.tail) == (1, 100.0, False)
    assert (count.kind, count.better, count.tail) == ("basis", 0, False)
    assert catalogue.kpi_of("classes.a.ttft_s.p99") == ttft
    assert catalogue.kpi_of("pools.any name.utilisation").kind == "share"


METRIC = '''\
"""Energy that the GPUs used while they were in steps."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.metrics.gpu_time import busy_gpu_s
from llmsim.metrics.kpi import LESS, Kpi, OfRun


@dataclass(frozen=True, slots=True, eq=False)
class Electricity(OfRun):
    """At 700 W for each GPU."""

    key: ClassVar[str] = "electricity"

    busy_kwh: Annotated[float, Kpi("energy in steps", "kWh", "cost", LESS)]

    @classmethod
    def of(cls, run):
        return cls(busy_gpu_s(run.record, run.gpus) * 0.7 / 3600)
'''


@pytest.fixture
def plug_in(tmp_path):
    """An installed package from outside: one file, and one line that names it."""
    (tmp_path / "energy_metric.py").write_text(METRIC)
    info = tmp_path / "energy_metric-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: energy-metric\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[llmsim.metrics.sections]\nelectricity = energy_metric:Electricity\n")
    return tmp_path


def llmsim(folder, *arguments):
    path = os.pathsep.join([str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "llmsim", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_metric_from_outside_is_in_scores_comparisons_and_sweeps(plug_in):
    few = ("--set", "workload.requests=60")
    score = json.loads(llmsim(plug_in, "run", "quickstart", *few, "--json"))
    compared = json.loads(
        llmsim(plug_in, "compare", "quickstart", *few, "--schedulers", "fcfs,chunked_prefill", "--json",
               "--fail-if", "electricity.busy_kwh > +1000%")
    )  # fmt: skip
    llmsim(plug_in, "sweep", "quickstart", *few, "--axis", "cluster.instances=1,2", "--out", "swept")
    import pyarrow.parquet as pq

    assert score["electricity"]["busy_kwh"] == pytest.approx(score["wasted"]["busy_gpu_s"] * 0.7 / 3600)
    row = next(row for row in compared["against"][0]["differences"] if row["metric"] == "electricity.busy_kwh")
    assert row["better"] == "less"
    assert "electricity.busy_kwh" in pq.read_table(plug_in / "swept" / "sweep.parquet").column_names


def test_without_the_plug_in_there_is_no_such_metric():
    assert "electricity.busy_kwh" not in catalogue.kpis()
