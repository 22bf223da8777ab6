from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmsim.experiment import run
from llmsim.record import Timelines
from llmsim.reports.plots import latency_figure, load_figure, save, spread, timelines_figure, trace_figure
from llmsim.reports.plots.latency_plot import words
from llmsim.reports.plots.load_plot import in_system, sampled
from llmsim.reports.plots.run_plots import run_latencies
from llmsim.request import Outcome
from llmsim.scenario import load_scenario
from llmsim.workload.contract import Workload


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def drawn(figure: Figure, folder: Path) -> bytes:
    file = folder / "figure.png"
    save(figure, file)
    assert [path.name for path in folder.iterdir()] == ["figure.png"]
    return file.read_bytes()


def three_timelines() -> Timelines:
    return Timelines.from_token_times(
        arrival_s=[0.0, 1.0, 2.0, 3.0],
        token_times_s=[np.arange(1, 11) * 0.1, 1.0 + np.arange(1, 11) * 0.5, 2.0 + np.arange(1, 11), []],
        outcome=[Outcome.FINISHED] * 3 + [Outcome.REJECTED],
    )


def test_latencies_mark_percentiles_and_bounds() -> None:
    ttft_s = np.append(np.arange(1, 101) / 1e3, np.nan)
    figure = latency_figure(ttft_s, [], [0.01, 0.5], [99, 1], bounds_s=(0.09, None, 0.2))
    ttft, tpot, tbt = figure.axes

    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "TTFT  (n = 100)",
        "TPOT  (n = 0)",
        "TBT, all gaps  (n = 100)",
    ]
    assert labels(ttft) == ["p50 = 50.5 ms", "p99 = 99 ms", "SLO 90 ms"]
    assert labels(tpot) == []
    assert labels(tbt) == ["p50 = 10 ms", "p99 = 14.9 ms", "SLO 200 ms"]


def test_a_line_of_many_values_has_few_points() -> None:
    figure = latency_figure(np.random.default_rng(0).exponential(size=50_000), [], [], [])

    assert len(figure.axes[0].lines[0].get_xydata()) <= 2000


def test_load_is_sampled_between_the_starts_and_ends_of_rows() -> None:
    steps = {
        "instance": np.array([0, 1, 0]),
        "start_s": np.array([0.0, 1.0, 3.0]),
        "end_s": np.array([1.0, 2.0, 4.0]),
        "running": np.array([5, 7, 9]),
    }

    got = sampled(steps, "running", np.array([0.0, 0.5, 1.0, 2.5, 3.0, 4.0]))

    np.testing.assert_array_equal(got, [[5, 5, 0, 0, 9, 0], [0, 0, 7, 0, 0, 0]])


def test_the_queue_that_is_drawn_is_the_one_that_requests_saw() -> None:
    # Little's law: an arrival cuts a stretch short and waits to the next step's end, not for a whole row of steps.
    result = run(load_scenario("quickstart", ["workload.requests=400"]))
    requests = result.record.requests
    time_s = np.linspace(0.0, result.record.end_s, 100_001)
    waiting = in_system(requests, time_s) - sampled(result.record.steps, "running", time_s).sum(axis=0)

    waited_s = (requests["first_scheduled_s"] - requests["arrival_s"]).sum()
    assert waiting.min() >= 0
    assert waiting.mean() * result.record.end_s == pytest.approx(waited_s, rel=0.02)


@pytest.mark.parametrize("instances", [1, 3, 12])
def test_load_is_drawn_for_one_instance_and_for_many(instances: int, tmp_path: Path) -> None:
    steps = {
        "instance": np.arange(instances),
        "start_s": np.zeros(instances),
        "end_s": np.ones(instances),
        **{name: np.full(instances, 10) for name in ("running", "kv_blocks_used")},
    }
    requests = {"arrival_s": np.zeros(12 * instances), "end_s": np.ones(12 * instances)}
    figure = load_figure(steps, requests, num_gpu_blocks=[40] * instances)
    queue, memory = figure.axes

    assert queue.lines[0].get_ydata()[0] == 10 * instances
    assert queue.lines[1].get_ydata()[0] == (12 - 10) * instances
    assert memory.lines[0].get_ydata()[0] == 100.0 * 10 / 40
    assert len(memory.lines) == (instances if instances <= 4 else 1)
    assert drawn(figure, tmp_path)


def test_the_spread_shows_median_slow_and_preempted_requests() -> None:
    timelines = three_timelines()

    assert spread(timelines, np.array([0, 0, 0, 9])) == {"median": 1, "slow (p99)": 1}
    assert spread(timelines, np.array([2, 0, 0, 9]))["preempted 2 x"] == 0
    nobody = Timelines.from_token_times([0.0], [[]])
    assert spread(nobody, np.array([0])) == {}


def test_timelines_show_tokens_and_the_reader(tmp_path: Path) -> None:
    timelines = three_timelines()
    figure = timelines_figure(timelines, {"quick": 0, "slow": 2}, tokens_per_s=2.0)
    tokens, reader = figure.axes[1].lines

    np.testing.assert_array_equal(tokens.get_xdata(), np.arange(11))
    np.testing.assert_array_equal(tokens.get_ydata(), np.arange(11))
    assert reader.get_ydata()[-1] == 10
    assert drawn(figure, tmp_path) == drawn(figure, tmp_path), "a picture is the same bytes twice"


def test_nothing_to_show_is_a_picture_too(tmp_path: Path) -> None:
    assert drawn(timelines_figure(three_timelines(), {}, tokens_per_s=5.0), tmp_path)


def test_a_trace_is_drawn_from_its_first_minute(tmp_path: Path) -> None:
    workload = Workload(np.array([0.0, 59.0, 60.0]), np.array([1, 10, 100]), np.array([5, 5, 5]), "three")
    figure = trace_figure(workload)

    np.testing.assert_array_equal(figure.axes[0].patches[0].get_data().values, [2, 1])
    assert drawn(figure, tmp_path)


def test_the_picture_marks_the_percentiles_of_the_table_within_a_window() -> None:
    changes = ["workload.requests=300", "window.start_s=30", "window.end_s=90"]
    result = run(load_scenario("quickstart", changes))
    figure = run_latencies(result)

    for axes, name in zip(figure.axes, ("ttft_s", "tpot_s", "tbt_s"), strict=True):
        row = result.score[name]
        assert axes.get_title(loc="left").endswith(f"(n = {row['n']:,})")
        assert labels(axes)[:2] == [f"{q} = {words(row[q] * 1e3)} ms" for q in ("p50", "p99")]
    assert "of 300 requests, those of the window" in figure.get_supxlabel()
