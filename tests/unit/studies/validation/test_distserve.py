from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llmsim.cli import main
from llmsim.cluster import InstanceSpec
from llmsim.errors import InputError
from llmsim.latency.fitted import Fitted
from llmsim.latency.host import Host
from llmsim.latency.step_errors import in_words
from llmsim.reports.format import percent_text
from llmsim.reports.plots import validation_figure
from llmsim.reports.tables.validation_tables import show_validation
from llmsim.schedulers.fcfs import Fcfs
from llmsim.studies.validation import Check, Constant, Point, Report, case_names, validate
from llmsim.studies.validation.cases.distserve import FITTED_ON, PREDICTED, fit
from llmsim.studies.validation.distserve_runs import read_runs
from llmsim.studies.validation.replay import replay
from llmsim.workload.contract import Workload

MS = {"prefill": [22.0, 0.14, 8e-6], "decoding_smallbs": [23.5, 6e-4, 0.06], "decoding_largebs": [20.2, 5e-4, 0.12]}
SEQUENCE_S = 0.0003


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """Runs "measured" on our own engine, with a known host constant."""
    profiles, folder = tmp_path / "profiles/distserve", tmp_path / "groundtruth/distserve_opt13b_a100"
    profiles.mkdir(parents=True)
    entry = {"facebook/opt-13b": {"1": MS | {"decoding_large_small_bs_threshold": 95}}}
    (profiles / "profiler-a100-80g.vllm.json").write_text(json.dumps(entry))
    (profiles / "max_num_tokens.csv").write_text("model,tp,pp,max_num_tokens\nfacebook/opt-13b,1,1,8000\n")
    latency = Host(Fitted.from_distserve(profiles / "profiler-a100-80g.vllm.json", "facebook/opt-13b"), 0, SEQUENCE_S)
    spec = InstanceSpec(Fcfs(16384, 1024), latency, 500, 2048)
    for name in (FITTED_ON, *PREDICTED):
        write_run(folder, name, spec)
    return tmp_path


def write_run(folder: Path, name: str, spec: InstanceSpec) -> None:
    rng = np.random.default_rng(len(name))
    gaps_s = rng.exponential(0.4 / float(name.rpartition("-")[2]), 40)
    work = Workload(np.cumsum(gaps_s) - gaps_s[0], rng.integers(20, 1800, 40), rng.integers(2, 200, 40), name)
    seen = replay(work, spec)
    asked = [
        {"prompt_len": p, "output_len": o, "start_time": t}
        for p, o, t in zip(work.prompt_tokens.tolist(), work.output_tokens.tolist(), work.arrival_s, strict=True)
    ]
    times = zip(work.arrival_s, seen.ttft_s, seen.e2e_s, strict=True)
    got = [
        {k: row[k] for k in ("prompt_len", "output_len")}
        | {"issue_time": 5 + float(t), "first_token_time": 5 + float(t + first), "complete_time": 5 + float(t + last)}
        for row, (t, first, last) in zip(asked, times, strict=True)
    ]
    for part, text in (("workload", json.dumps(asked)), ("measured", f"{got[::-1]!r}\n{{\n\tsummary\n}}\n")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / f"{name}.exp").write_text(text)


def test_distserve_finds_the_constant_that_made_the_runs(made_up: Path) -> None:
    report = validate("distserve", made_up)

    assert report.fitted[0].value == pytest.approx(SEQUENCE_S, abs=2e-6)
    assert report.passed
    assert max(abs(point.error_percent) for point in report.points) < 2
    assert {point.role for point in report.points if point.label == FITTED_ON} == {"fitted"}
    assert FITTED_ON not in {point.label for point in report.worst()}


def test_kv_tokens_of_a_run_are_counted_from_its_times(made_up: Path) -> None:
    run = read_runs(made_up, (FITTED_ON,))[0]
    seen, work = run.measured, run.workload
    at_s = (work.arrival_s + seen.ttft_s)[:, None]
    first_s, last_s = work.arrival_s + seen.ttft_s, work.arrival_s + seen.e2e_s
    running = (first_s <= at_s) & (at_s < last_s)
    prompts = (running * work.prompt_tokens).sum(axis=1)
    everything = (running * (work.prompt_tokens + work.output_tokens)).sum(axis=1)

    assert prompts.max() < run.most_kv_tokens() < everything.max()


@pytest.mark.draws
def test_validate_writes_a_picture_and_every_point(made_up: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = made_up / "out"

    for _ in range(2):  # the second one replaces the first
        assert main(["validate", "distserve", "--data", str(made_up), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.partition("}\n{")[0] + "}")
    kept = json.loads((out / "validation.json").read_text())
    assert said["passed"] is True
    assert {key: kept[key] for key in said} == said
    assert len(kept["points"]) == 3 * (1 + len(PREDICTED))
    assert (out / "validation.png").read_bytes().startswith(b"\x89PNG")
    assert main(["validate", "distserve", "--data", str(made_up)]) == 0
    assert " targets met" in capsys.readouterr().out


def break_run(data: Path, part: str, text: str) -> str:
    path = data / "groundtruth/distserve_opt13b_a100" / part / "vllm-200-2.exp"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("measured", "[{'prompt_len': 1,", "not a list of requests"),
        ("measured", "[{'prompt_len': 1}]", "each with the numbers issue_time"),
        ("workload", "nothing", "not a list of requests"),
        ("workload", '[{"start_time": 0, "prompt_len": 3, "output_len": 2}]', "its requests are not those of"),
    ],
)
def test_broken_runs_are_told_in_a_line(
    part: str, text: str, message: str, made_up: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_run(made_up, part, text)
    before = sorted(made_up.iterdir())

    assert main(["validate", "distserve", "--data", str(made_up), "--out", str(made_up / "out")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert sorted(made_up.iterdir()) == before


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("distserv", "did you mean 'distserve'"),
        ("steps", "iteration_times_ms.csv: not found"),
        ("distserve", "No such"),
    ],
)
def test_missing_data_and_unknown_cases_are_told(case: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "groundtruth").mkdir()
    with pytest.raises(InputError, match=message):
        validate(case, tmp_path)


def test_an_error_that_is_not_known_is_not_told_as_none() -> None:
    assert [percent_text(percent) for percent in (float("nan"), 0.04, -0.04, -0.06)] == [
        "+nan",
        "0.0",
        "0.0",
        "-0.1",
    ]


def test_missing_data_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        validate("steps", tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds none of groundtruth/, profiles/ and peers/"):
        validate("steps", tmp_path)


def test_cases_are_found_by_their_files() -> None:
    assert {"distserve", "steps"} <= set(case_names())


def test_report_passes_if_every_check_does() -> None:
    good, bad, unknown = Check("a", -9.9, 10), Check("b", 10.1, 10), Check("c", float("nan"), 10)
    points = tuple(Point("g", f"{k}", "s", 1.0, 1 + k / 100) for k in range(-4, 5))
    report = Report("x", "about", points, (good,), ({"a": 1},), (Constant("c", 1.0, "s", "run"),))

    assert report.passed
    assert not Report("x", "about", points, (good, bad), ()).passed
    assert not Report("x", "about", points, (unknown,), ()).passed
    assert [point.error_percent for point in report.worst()[:2]] == pytest.approx([-4, 4])


def test_fit_bisects_to_the_root_and_stays_at_zero_where_nothing_is_missing() -> None:
    assert fit(lambda value: value - 0.0042) == pytest.approx(0.0042, abs=1e-6)
    assert fit(lambda value: value + 1.0) == 0.0


LONG_NAMES = tuple(f"distserve-c21d11-{run}" for run in ("1050-10.5", "300-3"))


def report_of(points: tuple[Point, ...], checks: tuple[Check, ...] = ()) -> Report:
    rows = tuple(
        {"run": p.label, "where": "at or above the knee", "metric": p.group, "unit": p.unit, "of": "mean"}
        | {"measured": p.measured, "predicted": p.predicted, "error_percent": p.error_percent, "points": 46}
        for p in points
    )
    return Report("x", "about", points, checks, rows, (Constant("host step_s", 0.1, "s", "run"),))


def test_a_narrow_table_cuts_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    points = [Point("mean TTFT", name, "s", 1.0, 0.99999) for name in LONG_NAMES]
    points.append(Point("throughput", LONG_NAMES[0], "requests/s", 100.0, 414.0))
    show_validation(report_of(tuple(points), (Check("a", 1.0, 2.0), Check("b", 3.0, 2.0))), None)
    said = capsys.readouterr().out

    lines = said.splitlines()
    assert max(map(len, said.split(" targets met")[0].splitlines())) <= 80  # sentences stay whole in a pipe
    assert said.count("…") == 1
    assert "run: distserve-c21d11-…" in lines
    assert "points: 46 in every row" in lines
    for cell in ("1050-10.5", "mean TTFT, s", "throughput, req/s", "+314.0", " 0.0"):
        assert cell in said
    assert "-0.0" not in said
    assert "host step_s = 0.1, on run" in said
    assert "1 of 2 targets met" in said


def test_the_picture_has_one_unit_and_the_band_of_the_target() -> None:
    seconds = [Point(f"g{k}", "a", "s", 1.0, 1.2, "fitted" if k == 0 else "predicted") for k in range(9)]
    other = Point("throughput", "a", "requests/s", 500.0, 900.0)
    figure = validation_figure(report_of((*seconds, other), (Check("a", 1.0, 15.0),)))
    scatter, errors = figure.axes

    assert scatter.get_title(loc="left") == "x without throughput: predicted against measured"
    assert errors.get_title(loc="left") == "Error; grey: ±15 %"
    named = [text.get_text() for text in scatter.get_legend().get_texts()]
    assert named == [*(f"g{k}" for k in range(9)), "hollow: fitted"]
    looks = {(path.get_facecolor().tobytes(), path.get_paths()[0].vertices.tobytes()) for path in scatter.collections}
    assert len(looks) >= 9
    (legend,) = figure.legends
    assert legend.get_texts()[0].get_text() == "g1, a: +20 %"


def test_numbers_of_the_worst_stand_away_from_their_neighbours() -> None:
    points = tuple(Point("g", name, "s", s, 1.5 * s) for name, s in (("a", 1.0), ("b", 1.1), ("c", 100.0)))
    _, errors = validation_figure(report_of(points)).axes
    left, right, _ = (text.get_position()[0] for text in errors.texts)

    assert left < 0 < right


@pytest.mark.parametrize(
    ("step", "said"), [((8192, 0, 0), "prefill 8192"), ((0, 8, 512), "8 x 512"), ((256, 8, 1024), "256 + 8 x 1024")]
)
def test_steps_in_words(step: tuple[int, int, int], said: str) -> None:
    assert in_words(*step) == said
