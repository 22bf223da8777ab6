"""Each command as a call on small inputs: what it returns is what the command prints and writes."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

import llmsim
from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.experiment.seal import read_seal, unsealed
from llmsim.metrics.smooth_goodput import User
from llmsim.slo import Slo

SMALL = ["workload.requests=40", "cluster.latency=roofline"]


def command(capsys, *words):
    """What a command prints as JSON, without the time that it took."""
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    return timeless(json.loads(capsys.readouterr().out))


def timeless(values):
    """Values as JSON has them, without the wall-clock time."""
    return {key: value for key, value in json.loads(json.dumps(values)).items() if key != "wall_s"}


def settings(changes):
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture(scope="module")
def run():
    return llmsim.run("quickstart", SMALL)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    return run.save(tmp_path_factory.mktemp("kept") / "run")


def shows(result, *words):
    """A notebook shows what the command prints."""
    text = result._repr_html_()
    assert text.startswith("<pre>")
    return all(word in text for word in words)


def test_a_run_has_the_tables_and_files_of_the_command(run, folder, tmp_path, capsys):
    assert timeless(run.reported().to_dict()) == command(
        capsys, "run", "quickstart", *settings(SMALL), "--out", str(tmp_path / "o")
    )
    assert {file.name for file in folder.iterdir()} == {file.name for file in (tmp_path / "o").iterdir()}
    pd.testing.assert_frame_equal(run.requests, pd.read_parquet(tmp_path / "o" / "requests.parquet"))
    pd.testing.assert_frame_equal(run.steps, pd.read_parquet(tmp_path / "o" / "steps.parquet"))
    assert len(run.requests) == 40
    assert shows(run, "40 finished", "TTFT")


def test_a_score_is_that_of_the_command_with_one_row_a_request(folder, capsys):
    result = llmsim.score(folder, slo={"tbt_s": 0.1}, user={"alpha": 1.0}, window="makespan")
    words = ("score", str(folder), "--tbt-s", "0.1", "--alpha", "1.0", "--window", "makespan")

    assert timeless(result.to_dict()) == command(capsys, *words)
    assert len(result.requests) == 40
    assert result.requests["meets_slo"].mean() == result.score["slo"]["attainment"]
    assert shows(result, "SLO attainment")


def test_token_times_are_scored_as_given(run):
    result = llmsim.score(run.delivered, slo=Slo(ttft_s=1.0), user=User(alpha=1.0), end_s=run.record.end_s)

    assert result.score["ttft_s"]["mean"] == pytest.approx(run.score["ttft_s"]["mean"])


def test_a_sweep_has_a_row_for_each_point_and_goes_on_from_its_folder(tmp_path, capsys):
    axes = ["workload.arrivals.rate_per_s=1,2"]
    result = llmsim.sweep("quickstart", SMALL, axes=axes, seeds=2, jobs=2, out=tmp_path / "points")
    printed = command(capsys, "sweep", "quickstart", *settings(SMALL), "--axis", axes[0], "--seeds", "2",
                      "--jobs", "1", "--out", str(tmp_path / "points"))  # fmt: skip

    assert printed["ran"] == 0
    assert json.loads(json.dumps([row.to_dict() for row in result.swept.rows])) == printed["rows"]
    assert result.table["workload.arrivals.rate_per_s"].tolist() == [1, 1, 2, 2]
    copy = result.save(tmp_path / "copy")
    assert llmsim.sweep("quickstart", SMALL, axes=axes, seeds=2, out=copy).swept.ran == 0
    assert shows(result, "4 ")


def test_a_comparison_is_that_of_the_command(tmp_path, capsys):
    result = llmsim.compare("quickstart", SMALL, schedulers=["chunked_prefill", "fcfs"], out=tmp_path / "c")

    printed = command(capsys, "compare", "quickstart", "--schedulers", "chunked_prefill,fcfs", *settings(SMALL))
    assert timeless(result.score) == printed
    assert not result.failed
    assert set(result.table["side"]) == {"B"}
    assert (tmp_path / "c" / "compare.json").is_file()
    assert shows(result, "fcfs")
    with pytest.raises(InputError, match="1 to compare"):
        llmsim.compare("quickstart")


def test_a_plan_is_that_of_the_command_whatever_the_jobs(tmp_path, capsys):
    changes = ["plan.most_seeds=4"]
    file = tmp_path / "plan.toml"
    file.write_text(
        "[workload]\nrequests = 40\narrivals = { process = 'poisson', rate_per_s = 0.5 }\n"
        "lengths = { source = 'fixed', prompt_tokens = 100, output_tokens = 10 }\n"
        "[cluster]\nlatency = 'roofline'\n[plan]\ntargets = ['slo.attainment >= 0.9']\nmost_instances = 2\n"
    )
    result = llmsim.plan(file, changes, jobs=2, out=tmp_path / "p")

    assert timeless(result.score) == command(capsys, "plan", str(file), *settings(changes))
    assert len(result.table) >= 1
    assert (tmp_path / "p" / "pareto.png").is_file()
    assert shows(result, "1 ")


def test_an_audit_is_that_of_the_command_of_a_scenario_and_of_a_result(folder, tmp_path, capsys):
    of_result = llmsim.audit(folder, slo={"tbt_s": 0.05}, out=tmp_path / "a")

    assert timeless(of_result.score) == command(capsys, "audit", str(folder), "--tbt-s", "0.05")
    assert (tmp_path / "a" / "audit.png").is_file()
    assert timeless(llmsim.audit("quickstart", SMALL).score) == command(capsys, "audit", "quickstart", *settings(SMALL))
    assert shows(of_result, "gameable")


def test_a_validation_is_that_of_the_command(run, tmp_path, capsys):
    seen = run.requests
    measured = tmp_path / "measured.csv"
    columns = {
        "arrival_s": seen["arrival_s"],
        "prompt_tokens": seen["prompt_tokens"],
        "output_tokens": seen["output_tokens"],
        "ttft_s": seen["first_token_delivered_s"] - seen["arrival_s"],
        "e2e_s": seen["last_token_delivered_s"] - seen["arrival_s"],
    }
    pd.DataFrame(columns).to_csv(measured, index=False)
    result = llmsim.validate("quickstart", SMALL, measured=measured, out=tmp_path / "v")

    printed = command(capsys, "validate", str(measured), "--scenario", "quickstart", *settings(SMALL))
    assert timeless(result.score) == printed
    assert result.passed
    assert len(result.table) >= 1
    assert (tmp_path / "v" / "validation.json").is_file()
    assert shows(result, "targets met")


def test_a_report_is_the_page_of_the_command(folder, tmp_path, capsys):
    page = llmsim.report(folder, out=tmp_path / "page.html")
    assert main(["report", str(folder), "--out", str(tmp_path / "same.html")]) == 0

    assert (tmp_path / "page.html").read_text() == (tmp_path / "same.html").read_text() == page._repr_html_()
    with pytest.raises(InputError, match="in a folder that exists"):
        page.save(tmp_path / "nowhere" / "page.html")


@pytest.mark.parametrize("call", [llmsim.run, llmsim.audit, llmsim.score, llmsim.report])
def test_processes_with_nothing_to_do_are_refused(call, tmp_path):
    with pytest.raises(InputError, match=f"{call.__name__}: jobs = 2: .*; expected 1$"):
        call("quickstart", jobs=2, out=tmp_path / "o")
    with pytest.raises(InputError, match=r"validate: jobs = 2: .*; expected 1$"):
        llmsim.validate("quickstart", measured="none.csv", jobs=2)
    assert not list(tmp_path.iterdir())


def test_what_is_no_scenario_cannot_be_changed(run, folder):
    for call in (llmsim.score, llmsim.audit, llmsim.report):
        with pytest.raises(InputError, match=f"^{call.__name__}: seed=2: {folder} is a result, only a scenario can"):
            call(folder, ["seed=2"])
    with pytest.raises(InputError, match="what is given is a result"):
        llmsim.score(run.delivered, ["seed=2"])


def test_what_cannot_be_leaves_nothing_behind(tmp_path):
    for call in (llmsim.run, llmsim.sweep, llmsim.plan, llmsim.audit):
        with pytest.raises(InputError, match="no such scenario file"):
            call("quikstart", out=tmp_path / "o")
    assert not list(tmp_path.iterdir())


def test_another_questions_result_is_replaced_only_by_force(tmp_path, monkeypatch):
    """Refused before anything runs; the same question again is no other one."""
    monkeypatch.setattr("llmsim.reports.plots.draw", lambda *_: [])
    monkeypatch.setattr("llmsim.reports.plots.comparison_plots.draw_comparison", lambda *_, **__: [])
    folder = tmp_path / "r"
    for _ in range(2):
        llmsim.run("quickstart", SMALL, out=folder)
    held = (folder / "scenario.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("llmsim.experiment.run_scenario.assemble", None)
        with pytest.raises(InputError, match=r"another result.*force=True"):
            llmsim.run("quickstart", [*SMALL, "seed=7"], out=folder)
    other = llmsim.run("quickstart", [*SMALL, "seed=7"])
    with pytest.raises(InputError, match="another result"):
        other.save(folder)
    assert (folder / "scenario.json").read_bytes() == held
    other.save(folder, force=True)
    assert (folder / "scenario.json").read_bytes() != held

    llmsim.compare("quickstart", SMALL, schedulers=["chunked_prefill", "fcfs"], out=tmp_path / "c")
    with pytest.raises(InputError, match="another result"):
        llmsim.compare("quickstart", SMALL, schedulers=["fcfs", "static"], out=tmp_path / "c")


def test_what_is_judged_otherwise_is_another_question(tmp_path, run, monkeypatch):
    """Of audit, score and validate: refused before anything is simulated, replaced by force, the same again is fine."""
    monkeypatch.setattr("llmsim.reports.plots.save", lambda *_: None)
    kept, measured = run.save(tmp_path / "run"), tmp_path / "m.csv"
    measured.write_text("arrival_s,prompt_tokens,output_tokens,ttft_s,e2e_s\n0,100,20,0.1,0.5\n1,50,9,0.1,0.3\n")
    calls = [
        (partial(llmsim.audit, kept), {"slo": {"ttft_s": 2.0, "tbt_s": 0.2}}, "audit.json"),
        (partial(llmsim.score, kept), {"slo": {"ttft_s": 2.0, "tbt_s": 0.2}}, "score.json"),
        (partial(llmsim.validate, "quickstart", measured=measured), {"max_concurrency": 1}, "validation.json"),
    ]
    for call, otherwise, name in calls:
        out = tmp_path / name.partition(".")[0]
        for _ in range(2):
            call(out=out)
        held = (out / name).read_bytes()
        with pytest.raises(InputError, match=r"another result.*force=True"):
            call(out=out, **otherwise)
        assert (out / name).read_bytes() == held
        asked = read_seal(out)["question"]
        call(out=out, **otherwise, force=True)
        assert read_seal(out)["question"] != asked
        assert unsealed(out / name)
    held = {file.name: file.read_bytes() for file in kept.iterdir()}
    with pytest.raises(InputError, match="holds a run"):
        llmsim.score(kept, out=kept, force=True)
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == held


def test_the_same_calls_give_the_same_numbers(run):
    again = llmsim.run("quickstart", SMALL)

    assert np.array_equal(again.record.requests["end_s"], run.record.requests["end_s"])
