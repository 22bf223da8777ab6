"""What a sweep shows: intervals worked out by hand, pictures, P99s only where runs are steady."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmsim.cli import main
from llmsim.metrics.distributions import Distributions
from llmsim.reports.format import broken, interval_text, short_fields
from llmsim.reports.plots.sweep_plots import WITHHELD, Panel, curves_figure, heat_maps_figure, panels_of
from llmsim.reports.tables.sweep_tables import in_points, points_of, show_sweep
from llmsim.statistics import Interval
from llmsim.statistics.samples import Sample
from llmsim.studies.sweep import Axis, FinishedSweep, read_sweep, run_sweep
from llmsim.studies.sweep.sweep_table import SweepRow, over_seeds

TEXT = """\
name = "shown"
[workload]
requests = 50
arrivals = { process = "poisson", rate_per_s = 8.0 }
lengths = { source = "sharegpt" }
[cluster]
latency = "roofline"
[sweep]
"scheduler.name" = ["fcfs", "chunked_prefill"]
"workload.arrivals.rate_per_s" = [4, 8, 16]
seeds = 3
"""
#: 97.5 % point of Student's t with two degrees of freedom, of any printed table
T2 = 4.303
#: the shipped scenarios that have a sweep
SHIPPED = ("autoscaling", "heterogeneous", "predicted_lengths", "prefix_aware", "staleness", "sweep_token_budget")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shown.toml"
    path.write_text(TEXT)
    return path


def half_width(values: list[float]) -> float:
    return T2 * math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2 / 3)


def test_intervals_over_seeds_are_students(file: Path, tmp_path: Path) -> None:
    swept = run_sweep(read_sweep(file), tmp_path / "sweep")
    table = pd.read_parquet(tmp_path / "sweep/sweep.parquet")
    picked = table[(table["scheduler.name"] == "chunked_prefill") & (table["workload.arrivals.rate_per_s"] == 16)]
    values = picked["smooth_goodput_tokens_per_s"].tolist()

    point = list(points_of(swept.rows, swept.distributions, 3))[5]
    cell = next(panel for panel in panels_of(swept) if panel.words.startswith("smooth")).cells[1, 2]

    assert point.axes == {"scheduler.name": "chunked_prefill", "workload.arrivals.rate_per_s": 16}
    assert point.verdicts == "too short"
    assert point.intervals["ttft_s.p99"] is None
    for interval in (point.intervals["smooth_goodput_tokens_per_s"], cell):
        assert interval is not None
        assert interval.estimate == pytest.approx(np.mean(values))
        assert not interval.bounded, "50 requests are too few to say how sure their mean is"
    long = Distributions({"ttft_s": Sample(0, np.ones(1), 1e9, {})}, None)
    rows = swept.rows[15:18]
    enough = over_seeds("smooth_goodput_tokens_per_s", rows, [long] * 3)
    assert enough is not None
    assert enough.half_width == pytest.approx(half_width(values), rel=1e-3)


def test_p99s_are_withheld_unless_forced_and_the_points_are_not_run_again(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[dict[str, Any]] = []
    for force in ([], ["--force"]):
        assert main(["sweep", str(file), "--out", str(tmp_path / "x"), "--jobs", "1", "--json", *force]) == 0
        found.append(json.loads(capsys.readouterr().out))
    withheld, forced = found

    assert (withheld["ran"], forced["ran"]) == (18, 0)
    for before, after in zip(withheld["rows"], forced["rows"], strict=True):
        assert before["verdict.answer"] == after["verdict.answer"] == "too short"
        assert before["ttft_s.p99"] is None
        assert after["ttft_s.p99"] >= after["ttft_s.p90"]


@pytest.mark.parametrize(
    ("axes", "pictures"),
    [
        (["scheduler.name=fcfs", "workload.arrivals.rate_per_s=4,8"], {"curves.png", "heat_maps.png"}),
        (["cluster.instances=1,2", "scheduler.name=fcfs", "workload.arrivals.rate_per_s=4"], set()),
    ],
)
def test_the_command_prints_a_row_a_point_and_draws_one_or_two_axes(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], axes: list[str], pictures: set[str]
) -> None:
    options = [word for axis in axes for word in ("--axis", axis)]
    folder = tmp_path / "x"

    assert main(["sweep", str(file), "--out", str(folder), "--jobs", "1", "--seeds", "1", *options]) == 0

    out = capsys.readouterr().out
    assert out.count("too short") == 2
    assert "2 points x 1 seed: 2 runs, 2 of them now" in out
    assert ("no pictures: a sweep over one or two axes has them" in out) == (not pictures)
    assert {path.name for path in folder.glob("*.png")} == pictures
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_unreadable_heat_maps_are_not_drawn_which_is_told(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ",".join(str(k) for k in range(1, 14))
    axes = ("--axis", "scheduler.name=fcfs", "--axis", f"workload.arrivals.rate_per_s={rates}")

    assert main(["sweep", str(file), "--out", str(tmp_path / "x"), "--jobs", "1", "--seeds", "1", *axes]) == 0

    assert "no heat maps: an axis has more values than could be read" in capsys.readouterr().out
    assert not (tmp_path / "x" / "heat_maps.png").exists()


@pytest.mark.draws
def test_pictures_are_the_same_bytes_every_time(file: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert main(["sweep", str(file), "--out", str(tmp_path / name), "--jobs", "1"]) == 0
    for name in ("curves.png", "heat_maps.png", "sweep.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [
        (1234.5, 87.0, "1,234 ± 87"),
        (0.1234, 0.0123, "0.12 ± 0.01"),
        (100.0, 0.0, "100 ± 0"),
        (70.0, 1e-14, "70 ± 0"),
        (5.25, math.inf, "5.25"),
    ],
)
def test_an_interval_is_told_to_its_first_unsure_digit(mean: float, half: float, expected: str) -> None:
    assert interval_text(Interval(mean, mean - half, mean + half, 0.95, 3)) == expected


def test_a_sweep_keeps_swept_rows_in_order_of_the_axes(file: Path, tmp_path: Path) -> None:
    swept: FinishedSweep = run_sweep(read_sweep(file), tmp_path / "sweep")

    order = [(*row.axes.values(), row.seed) for row in swept.rows]
    assert order == [(s, r, n) for s in ("fcfs", "chunked_prefill") for r in (4, 8, 16) for n in (0, 1, 2)]


def test_forced_p99s_are_marked_where_not_all_runs_are_steady(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", str(file), "--out", str(tmp_path / "x"), "--jobs", "1"]
    found = []
    for force in ([], ["--force"]):
        assert main([*command, *force]) == 0
        found.append(capsys.readouterr().out)
    withheld, forced = found

    assert "6 points x 3 seeds: 18 runs, 18 of them now" in withheld
    assert "*" not in withheld
    assert "--force shows the others" in withheld
    rows = [line for line in forced.splitlines() if line.endswith("too short")]
    assert [row.count("*") for row in rows] == [1] * 6
    assert "P99s marked * are not to be relied on" in forced
    assert "--force" not in forced


def made_up(scenario: str, axes: list[str], answers: list[str]) -> FinishedSweep:
    """A sweep that was not run, of long numbers."""
    sweep = read_sweep(scenario, axes=axes)
    rows = [
        SweepRow(
            point.axes,
            point.scenario.seed,
            {"verdict.answer": answers[i % len(answers)], "ttft_s.p99": 10 + i % 3}
            | {"slo.attainment": 0.9 - i % 3 / 100, "smooth_goodput_tokens_per_s": 9000 + 99 * i},
        )
        for i, point in enumerate(sweep.points)
    ]
    return FinishedSweep(sweep, rows, [None] * len(rows), [None] * len(rows), 0, 0)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("answers", [["steady"], ["too short", "overloaded", "steady"]])
def test_no_table_of_a_shipped_sweep_is_cut_at_80_columns(
    name: str, answers: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    swept = made_up(name, [], answers)

    show_sweep(swept, Path("x"), [Path("x/curves.png")], force=True)

    out = capsys.readouterr().out
    assert "…" not in out
    for value in swept.sweep.axes[-1].values:
        assert all(part in out for part in str(value[0]).split("_"))


def test_a_table_that_is_too_wide_loses_no_letter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    axes = [
        *("workload.arrivals.rate_per_s=1,2.123456789012", "router.name=shortest_expected_delay,least_outstanding"),
        *("scheduler.name=chunked_prefill,fcfs", "scheduler.max_num_batched_tokens=1024,2048", "cluster.instances=2,3"),
    ]

    show_sweep(made_up("quickstart", axes, ["too short"]), Path("x"), [], force=True)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    letters = "".join("".join(line.split()) for line in lines)
    assert "…" not in letters
    assert letters.count("delay") == 8 * 2
    assert letters.count("fcfs") == letters.count("chunked") == 16


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["scheduler.name", "router.name"], ["scheduler", "router"]),
        (["workload.arrivals.rate_per_s", "cluster.instances"], ["rate_per_s", "instances"]),
        (["prefill.scheduler.name", "decode.scheduler.name"], ["prefill.scheduler", "decode.scheduler"]),
        (["host.a.size", "host.b.size", "size"], ["a.size", "b.size", "size"]),
    ],
)
def test_no_two_columns_have_one_head(fields: list[str], expected: list[str]) -> None:
    assert short_fields(fields) == expected


def test_points_and_runs_are_told_apart() -> None:
    assert in_points(24, 3) == "8 points x 3 seeds: 24 runs"
    assert in_points(1, 1) == "1 point x 1 seed: 1 run"


def test_long_names_are_broken_and_numbers_are_not() -> None:
    assert broken("shortest_expected_delay") == "shortest_\nexpected_\ndelay"
    assert broken("rate_per_s") == "rate_per_s"
    assert broken("1.58489319246") == "1.58489319246"


def axis(name: str, *values: Any) -> Axis:
    return Axis((tuple(name.split(".")),), tuple((value,) for value in values), ("",))


def some(cells: dict[tuple[int, ...], Interval | None]) -> Panel:
    return Panel("SLO attainment (%)", cells, set())


ONE = Interval(50.0, 49.9, 50.1, 0.95, 3)


def test_a_panel_without_values_has_no_axes_but_its_words() -> None:
    panels = [some({(0,): None, (1,): None}), some({(0,): ONE, (1,): None})]

    empty, other = curves_figure([axis("scheduler.max_num_seqs", 1, 64)], panels).axes

    assert (empty.axison, other.axison) == (False, True)
    assert [text.get_text() for text in empty.texts] == ["no run has such a number"]


def test_words_have_no_order_and_so_no_line_through_them() -> None:
    cells: dict[tuple[int, ...], Interval | None] = {(0,): ONE, (1,): ONE}

    (of_words,) = curves_figure([axis("scheduler.name", "fcfs", "static")], [some(cells)]).axes
    (of_numbers,) = curves_figure([axis("cluster.instances", 1, 2)], [some(cells)]).axes

    assert {line.get_linestyle() for line in of_words.lines} == {"None"}
    assert "-" in {line.get_linestyle() for line in of_numbers.lines}


def test_labels_of_values_close_together_on_a_logarithmic_axis_are_left_out() -> None:
    values = (1000, 1001, 4000, 100_000)
    (axes,) = curves_figure(
        [axis("scheduler.max_num_seqs", *values)], [some({(i,): ONE for i in range(len(values))})]
    ).axes

    assert [label.get_text() for label in axes.get_xticklabels()] == ["1000", "", "4000", "100000"]


def test_a_heat_map_breaks_its_labels_and_tells_intervals_to_the_first_unsure_digit() -> None:
    axes = [axis("cluster.instances", 1), axis("router.name", "least_outstanding", "power_of_two")]

    (panel,) = heat_maps_figure(axes, [some({(0, 0): ONE, (0, 1): None})]).axes

    assert [label.get_text() for label in panel.get_xticklabels()] == ["least_\noutstanding", "power_of_\ntwo"]
    assert [text.get_text() for text in panel.texts] == ["50.0\n± 0.1", "–"]


def test_only_percentiles_are_withheld_and_more_lines_than_can_be_told_apart_are_told() -> None:
    axes = [axis("a", 1, 2), axis("b", *range(10))]
    none: dict[tuple[int, ...], Interval | None] = dict.fromkeys(np.ndindex(2, 10))
    panels = [Panel("x p99 (ms)", none, set(), WITHHELD), Panel("y", none, set())]

    figure = curves_figure(axes, panels)
    alone = curves_figure(axes[:1], [Panel("y", {(0,): ONE, (1,): ONE}, {(0,)})])

    assert [text.get_text() for panel in figure.axes for text in panel.texts] == [
        "withheld: no point is steady",
        "no run has such a number",
    ]
    assert "the first 8 of 10" in figure.legends[0].get_title().get_text()
    assert alone.get_supxlabel() == "hollow: not all runs are steady"


def test_help_shows_a_whole_range(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["sweep", "--help"]) == 0

    out = capsys.readouterr().out
    assert "…" not in out
    assert "spacing='geometric'}" in out
