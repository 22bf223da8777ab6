"""The figures' arithmetic, and that every one can be made; their claims are checked by `llmsim figures --check`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.figures import abandonment, draw
from llmsim.figures import plan as plans
from llmsim.figures.intervals import crossing, interval, peaks
from llmsim.figures.numbers import measure
from llmsim.figures.plan import Plan, Sweep
from llmsim.figures.runs import Run, run_plans
from llmsim.metrics.smooth_goodput import User, smooth_goodput_tokens_per_s
from llmsim.scenario import load_scenario, scenario_names
from llmsim.studies.executors import in_processes
from llmsim.studies.kept_runs import KeptRuns


def test_an_interval_by_hand() -> None:
    found = interval(np.array([1.0, 2.0, 3.0]))

    assert found.mean == 2.0
    assert found.half_width == pytest.approx(4.303 * 1.0 / 3**0.5)
    assert not found.positive
    assert str(found) == "2.0 ± 2.5"


def test_the_peak_of_a_parabola_is_found_between_rates() -> None:
    rates = np.array([1.0, 2.0, 3.5, 5.0])
    values = np.stack([-((rates - 2.7) ** 2), rates, -rates], axis=1)

    assert peaks(rates, values) == pytest.approx([2.7, 5.0, 1.0])


def test_where_a_gain_turns_into_a_loss() -> None:
    assert crossing(np.array([1.0, 2.0, 4.0]), np.array([3.0, 1.0, -1.0])) == 3.0
    assert np.isnan(crossing(np.array([1.0, 2.0]), np.array([-1.0, 1.0])))


def test_numbers_of_a_run_are_those_of_the_metrics() -> None:
    changes = ["workload.requests=120", "workload.arrivals.rate_per_s=3.0", "window.end_s=35.0", "window.start_s=5.0"]
    scenario = load_scenario("paper/sharegpt_llama", changes)
    found = measure(scenario, delayed=True)
    run = experiment.run(scenario)

    window = experiment.make_window(scenario)
    for tokens_per_s, alpha in ((5.0, 2.5), (30.0, 4.0)):
        expected = smooth_goodput_tokens_per_s(
            run.delivered, User(tokens_per_s=tokens_per_s, alpha=alpha), window, end_s=run.record.end_s
        )
        smooth = found["tokens_arrivals"] - alpha * found[f"idle_{tokens_per_s:g}_arrivals"]
        assert smooth == pytest.approx(expected)
    assert found["ttft_s_mean"] == run.score["ttft_s"]["mean"]
    assert found["paced_earlier_tokens"] == 0
    assert found["paced_tbt_s_p50"] == pytest.approx(0.1)


def test_plans_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan("documents_llama", loads=(0.3, 0.5), seeds=2, horizon_s=60.0)
    one, two = (run_plans([plan, plan], executors=in_processes(jobs))[plan] for jobs in (1, 2))

    assert one.values.keys() == two.values.keys()
    for name in one.values:
        np.testing.assert_array_equal(one.values[name], two.values[name])
    assert one.smooth_goodput().shape == (2, 2)


def test_runs_are_made_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also those of which a number is not there (no ITL in runs of single tokens); a damaged one is made anew."""
    plan = Plan("documents_llama", loads=(0.3, 0.5), seeds=1, horizon_s=20.0, changes=("window={}",))
    kept, asked = KeptRuns(tmp_path), []
    first = run_plans([plan], kept=kept)[plan]
    damaged, *_ = tmp_path.glob("*.json")
    damaged.write_text(damaged.read_text().replace("1", "2"))
    measured = Run.measured
    monkeypatch.setattr(Run, "measured", lambda self: asked.append(self) or measured(self))
    again = run_plans([plan], kept=kept)[plan]
    other = run_plans([plan.abandoning()], kept=kept)

    assert len(asked) == 1 + 2
    assert len(kept) == 4
    assert again.values.keys() == first.values.keys()
    for name in first.values:
        np.testing.assert_array_equal(first.values[name], again.values[name])
    assert list(other) == [plan.abandoning()]


def test_settings_are_shipped_scenarios() -> None:
    assert {f"paper/{name}" for name in plans.SETTINGS | plans.DISAGGREGATED} <= scenario_names().keys()


@pytest.mark.draws
def test_every_figure_can_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """On little data, and as PNG alone: what it says is not looked at here."""
    monkeypatch.setattr(draw, "METADATA", {"png": draw.METADATA["png"]})
    small = Plan.overrides
    monkeypatch.setattr(plans, "QUICK_LOADS", (0.3, 0.9, 1.0, 1.5))
    monkeypatch.setattr(
        Plan, "overrides",
        lambda self, rate, seed: [*small(self, rate, seed), "workload.requests=40", "window.start_s=0.0",
                                  "window.end_s=30.0"],
    )  # fmt: skip
    assert main(["figures", "--quick", "--json", "--out", str(tmp_path)]) == 0
    claims = json.loads(capsys.readouterr().out)

    assert [claim["claim"] for claim in claims] == sorted(claim["claim"] for claim in claims)
    for claim in claims:
        assert claim.keys() == {"claim", "statement", "passed", "evidence", "limits"}
        assert claim["evidence"]
    stems = {file.stem for file in tmp_path.glob("*.*")}
    for stem in stems - {"figure_06_smooth_goodput_against_rate"}:
        assert {file.suffix for file in tmp_path.glob(f"{stem}.*")} == {".png", ".csv"}, stem


def test_the_first_claim_holds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["figures", "timelines", "--check", "--out", str(tmp_path)]) == 0

    assert "Claim 1 holds" in capsys.readouterr().out
    stems = {file.stem for file in tmp_path.glob("*.png")}
    assert stems == {"figure_01_02_timelines"}, "as in the paper"
    for stem in stems:
        assert {file.suffix for file in tmp_path.glob(f"{stem}.*")} == {".png", ".pdf", ".svg", ".csv"}, stem


def test_an_unknown_figure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", "timeline"]) == 2

    assert "unknown figure 'timeline'; did you mean 'timelines'?" in capsys.readouterr().err


def test_abandonment_is_judged_by_attainment_goodput_and_the_hardened_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers made up: those who abandon double attainment and goodput, and lose smooth goodput."""
    monkeypatch.setattr(abandonment, "can_abandon", lambda: True)

    def made_up(plan: Plan) -> Sweep:
        shape = (len(plan.loads), plan.seeds)
        noise = 1e-3 * np.arange(plan.seeds)
        names = ("attainment", "goodput", "tokens_arrivals", "idle_5_arrivals")
        base = {name: np.ones(shape) + noise for name in names}
        return Sweep(plan, base | ({"attainment": 2 + 2 * noise + np.zeros(shape), "goodput": 2 + np.zeros(shape),
                                    "idle_5_arrivals": 3 + np.zeros(shape)} if plan.abandons else {}))  # fmt: skip

    sweeps = {plan: made_up(plan) for plan in abandonment.plans(True)}
    claim = abandonment.make(sweeps, True).claim
    swapped = {plan: made_up(replace(plan, abandons=not plan.abandons)) for plan in sweeps}

    assert claim.passed is True
    assert "hardened smooth goodput at 0 of" in claim.evidence[0]
    assert abandonment.make(swapped, True).claim.passed is False
