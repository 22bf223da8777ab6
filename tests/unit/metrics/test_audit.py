from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmsim.cli import main
from llmsim.metrics.audit import UNDRAFTED, audit, manipulable_share
from llmsim.metrics.manipulate import drop_those_that_miss, first_missed_s
from llmsim.metrics.smooth_goodput import User
from llmsim.record import Timelines
from llmsim.reports.plots import audit_figure
from llmsim.reports.tables.audit_tables import audit_number, findings
from llmsim.request import Outcome
from llmsim.slo import Slo

#: vector C of the design notes: its stall of 0.5 s is the 15th gap
C = 0.2 + np.concatenate([[0.0], np.cumsum(np.where(np.arange(1, 30) == 15, 0.5, 0.02))])
LATE = 3.0 + 0.02 * np.arange(30)
SLO = Slo(ttft_s=0.5, tbt_s=0.1)
OVERLOADED = """\
name = "overloaded"
[workload]
requests = 150
arrivals = { process = "poisson", rate_per_s = 6.0 }
lengths = { source = "fixed", prompt_tokens = 2000, output_tokens = 50 }
[cluster]
latency = "roofline"
[scheduler]
name = "fcfs"
[slo]
ttft_s = 2.0
tbt_s = 0.1
"""


def two_requests() -> Timelines:
    return Timelines.from_token_times([0.0, 0.0], [C, LATE])


@pytest.mark.parametrize(
    ("slo", "missed_s"),
    [
        (SLO, [C[14] + 0.1, 0.5]),
        (Slo(e2e_s=1.0), [1.0, 1.0]),
        (Slo(e2e_s=2.0), [np.inf, 2.0]),
        (Slo(tpot_s=0.03), [0.2 + 29 * 0.03, np.inf]),
        (Slo(tbt_s=0.5), [np.inf, np.inf]),
    ],
)
def test_the_first_missed_deadline(slo: Slo, missed_s: list[float]) -> None:
    assert first_missed_s(two_requests(), slo) == pytest.approx(np.array(missed_s))


@pytest.mark.parametrize(("gap_s", "direction"), [(0.0999, "unchanged"), (0.098, "up")])
def test_a_change_within_the_margin_of_its_metric_is_no_finding(gap_s: float, direction: str) -> None:
    """Tokens are delayed to 100 ms apart: by 0.1 %, which tables would show as the same number, or by 2 %."""
    timelines = Timelines.from_token_times([0.0], [0.2 + gap_s * np.arange(50)])
    row = next(one for one in audit(timelines, slo=SLO, user=User()).rows if one.metric.key == "tbt_p50")

    assert row.after["paced"].direction == direction


def test_a_dropped_request_keeps_what_it_had() -> None:
    dropped = drop_those_that_miss(two_requests(), SLO)

    assert dropped.token_times_s(0).tolist() == C[:15].tolist()
    assert len(dropped.token_times_s(1)) == 0
    assert dropped.outcome.tolist() == [Outcome.ABANDONED] * 2
    assert dropped.end_s == pytest.approx([C[14] + 0.1, 0.5])


def test_requests_that_ended_by_themselves_stay_as_they_are() -> None:
    timelines = Timelines.from_token_times(
        [0.0, 0.0, 0.0], [[0.1], [], []], end_s=[0.15, 0.4, 9.0],
        outcome=[Outcome.CANCELLED, Outcome.REJECTED, Outcome.UNFINISHED],
    )  # fmt: skip
    dropped = drop_those_that_miss(timelines, SLO)

    assert dropped.outcome.tolist() == [Outcome.CANCELLED, Outcome.REJECTED, Outcome.ABANDONED]
    assert dropped.end_s.tolist() == [0.15, 0.4, 0.5]


def test_vector_c_is_gamed_by_delay_and_smooth_goodput_is_not() -> None:
    found = audit(Timelines.from_token_times([0.0], [C]), slo=SLO, user=User(tokens_per_s=20.0, offset_s=0.5))
    rows = {row.metric.key: row.after["paced"] for row in found.rows}

    assert rows["attainment"].gameable
    assert (rows["attainment"].value, rows["attainment"].change) == (100.0, 100.0)
    assert rows["tbt_p99"].gameable
    assert rows["goodput"].gameable
    assert (rows["smooth"].direction, rows["smooth"].improves) == ("down", False)
    assert found.users["paced"].worse == 1
    assert found.users["paced"].better == 0


def test_completed_only_metrics_are_gamed_by_drops() -> None:
    mixed = Timelines.from_token_times([0.0, 0.0], [0.3 + 0.02 * np.arange(30), LATE])
    found = audit(mixed, slo=SLO, user=User())
    rows = {row.metric.key: row.after["dropped"] for row in found.rows}

    assert rows["ttft_p99"].gameable
    assert rows["attainment_completed"].gameable
    assert rows["attainment"].direction == "unchanged"
    assert rows["ttft_p99_all"].improves is False
    assert rows["smooth"].direction == "down"
    assert found.users["dropped"].worse == 1


def test_how_much_of_a_gain_could_be_manipulation() -> None:
    user = User(tokens_per_s=20.0, offset_s=0.5)
    mine = audit(Timelines.from_token_times([0.0], [C]), slo=SLO, user=user)
    smooth = audit(Timelines.from_token_times([0.0], [0.2 + 0.045 * np.arange(30)]), slo=SLO, user=user)

    shares = {gain.metric: gain.share["paced"] for gain in manipulable_share(mine, smooth)}

    assert shares["attainment"] == 1.0
    assert shares["tbt_p99"] > 0.8
    assert "tpot_mean" not in shares, "it is not better in this"


def test_the_picture_says_where_bars_end() -> None:
    figure = audit_figure(audit(two_requests(), slo=SLO, user=User(), others={"abandoned": two_requests()}))
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]

    assert (ticks[0], ticks[-1]) == ("≤ -100", "≥ 100")
    assert figure.axes[2].get_title(loc="left").startswith("requests that miss abandoned")


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.5975, "tokens/s", "0.598"),
        (0.5975, "", "0.5975"),
        (0.05, "", "0.05"),
        (1234.5, "ms", "1,234"),
        (None, "", "–"),
    ],
)
def test_only_shares_have_four_decimals(value: float, unit: str, said: str) -> None:
    assert audit_number(value, unit) == said


@pytest.fixture
def overloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("overloaded.toml").write_text(OVERLOADED)
    return "overloaded.toml"


def test_an_overloaded_run(overloaded: str, run_cli: Callable[..., str]) -> None:
    out = json.loads(run_cli("audit", overloaded, "--json"))
    rows: dict[str, dict[str, Any]] = {row["metric"]: row for row in out["metrics"]}

    assert out["users"]["paced"]["better"] == out["users"]["dropped"]["better"] == 0
    assert rows["attainment_tbt"]["paced"]["gameable"]
    for name in ("ttft_p99", "attainment_completed"):
        assert rows[name]["dropped"]["gameable"], name
    for manipulation in ("paced", "dropped"):
        assert not rows["smooth"][manipulation]["improves"]
        assert not rows["throughput"][manipulation]["improves"]
    assert out["words"][0].startswith("Delaying tokens to 100 ms apart improves")
    assert "Hardened smooth goodput" in out["words"][0]


def test_table_picture_and_a_comparison_of_results(
    overloaded: str, capsys: pytest.CaptureFixture[str], run_cli: Callable[..., str]
) -> None:
    for name in ("fcfs", "chunked_prefill"):
        assert main(["run", overloaded, "--scheduler", name, "--out", name]) == 0
    capsys.readouterr()
    out = run_cli("audit", "fcfs", "chunked_prefill", "--picture", "audit.png")

    assert "Audit of fcfs" in out
    assert "Audit of chunked_prefill" in out
    assert "What chunked_prefill claims over fcfs" in out
    assert max(map(len, out.split("completed: over")[0].splitlines())) <= 80
    assert "by delaying  by dropping" in out
    assert "share of the gain that fcfs would show if manipulated so" in out
    assert "tokens/s" not in out.partition("claims over")[2]
    assert Path("audit.png").is_file()


@pytest.mark.draws
def test_its_picture_is_drawn(overloaded: str, run_cli: Callable[..., str]) -> None:
    run_cli("audit", overloaded, "--picture", "audit.png")

    assert Path("audit.png").read_bytes().startswith(b"\x89PNG")
    assert Path("audit.png").stat().st_size > 10_000


def test_measured_timelines_are_audited(overloaded: str, run_cli: Callable[..., str]) -> None:
    Path("c.json").write_text(json.dumps([{"arrival_s": 0.0, "token_times_s": C.tolist()}]))
    out = json.loads(run_cli("audit", "c.json", "--ttft-s", "0.5", "--tbt-s", "0.1", "--json"))

    assert out["pace_s"] == 0.1
    assert {row["metric"] for row in out["metrics"]} >= {"attainment", "tbt_p99", "smooth"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["c.json"], "an audit needs an SLO"),
        (["c.json", "--set", "seed=1"], "only a scenario can be changed"),
        (["a", "b", "c"], "3 results: expected one to audit, or two"),
        (["overloded.toml"], "no such scenario file"),
        (["overloaded.toml", "--picture", "x.pdf"], "expected a file that ends in .png"),
        (["nobody.json", "--ttft-s", "1"], "the result lasts no time"),
        (["overloaded.toml", "--pace-s", "0"], "expected more than 0 seconds"),
        (["overloaded.toml", "--pace-s", "nan"], "--pace-s nan: expected more than 0 seconds"),
    ],
)
def test_bad_audits_are_one_line(
    overloaded: str, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.json").write_text(json.dumps([{"arrival_s": 0.0, "token_times_s": C.tolist()}]))

    Path("nobody.json").write_text(json.dumps([{"arrival_s": 0.0, "token_times_s": []}]))

    assert main(["audit", *arguments]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_tpot_and_the_tail_of_the_gaps_disagree_about_drafts(capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--set", "workload.requests=60", "--set", "workload.arrivals.rate_per_s=1")
    assert main(["audit", "speculation", *few, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    of = {row["metric"]: row for row in found["metrics"]}
    assert [of[key]["undrafted"]["direction"] for key in ("tpot_mean", "tbt_p99")] == ["up", "down"]
    assert any("Mean TPOT and ITL p99 disagree about drafts, which make" in line for line in found["words"])


def test_where_drafts_make_both_shorter_tpot_and_the_gaps_agree() -> None:
    slower = Timelines.from_token_times([0.0, 0.0], [2 * C, 2 * LATE])
    made = audit(two_requests(), slo=SLO, user=User(), others={UNDRAFTED: slower})
    assert "Mean TPOT and ITL p99 agree about drafts here." in findings(made)[-1]


def test_an_audit_of_a_scheduler_that_decides_drafts_has_plain_runs_with_its_seats(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["audit", "related/adaserve", "--set", "workload.requests=20", "--json"]) == 0
    assert {"undrafted", "abandoned"} <= json.loads(capsys.readouterr().out)["users"].keys()
