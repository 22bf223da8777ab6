from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from llmsim import __version__
from llmsim.experiment import run
from llmsim.record import Timelines
from llmsim.reports.plots import latency_figure, load_figure, save, spread, timelines_figure, trace_figure
from llmsim.reports.plots.caption import caption, instance_names
from llmsim.reports.plots.latency_plot import words
from llmsim.reports.plots.load_plot import in_system, rates_per_s, sampled
from llmsim.reports.plots.run_plots import run_latencies, run_load, run_timelines
from llmsim.request import Outcome
from llmsim.scenario import load_scenario
from llmsim.workload.contract import Workload

pytestmark = pytest.mark.draws


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
    ttft, tpot, tbt = figure.axes[3:]  # the tails, which have the legends

    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == [
        "TTFT  (n = 100)",
        "TPOT  (n = 0)",
        "ITL, all gaps  (n = 100)",
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
        **{name: np.full(instances, 10) for name in ("running", "kv_blocks_used", "decoding")},
        "steps": np.full(instances, 5),
        "prefill_tokens": np.zeros(instances),
    }
    requests = {
        "arrival_s": np.zeros(12 * instances),
        "end_s": np.ones(12 * instances),
        "preemptions": np.tile([1, 0, 0, 0], 3 * instances),
    }
    figure = load_figure(steps, requests, num_gpu_blocks=[40] * instances)
    queue, memory, tokens, misses = figure.axes

    assert tokens.patches[0].get_data().values[0] == pytest.approx(10 * 5 * instances)
    assert misses.patches[0].get_data().values[0] == 25.0
    assert queue.lines[0].get_ydata()[0] == 10 * instances
    assert queue.lines[1].get_ydata()[0] == (12 - 10) * instances
    assert memory.lines[0].get_ydata()[0] == 100.0 * 10 / 40
    assert len(memory.lines) == (instances if instances <= 3 else 1)
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
    again = timelines_figure(timelines, {"quick": 0, "slow": 2}, tokens_per_s=2.0)
    assert drawn(figure, tmp_path) == drawn(again, tmp_path), "a picture is the same bytes twice"


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

    for axes, tail, name in zip(figure.axes[:3], figure.axes[3:], ("ttft_s", "tpot_s", "tbt_s"), strict=True):
        row = result.score[name]
        assert axes.get_title(loc="left").endswith(f"(n = {row['n']:,})")
        assert labels(tail)[:2] == [f"{q} = {words(row[q] * 1e3)} ms" for q in ("p50", "p99")]
    assert "of 300 requests, those of the window" in figure.get_supxlabel()


@pytest.fixture(scope="module")
def small_run():
    return run(load_scenario("disaggregated", ["workload.requests=40"]))


@pytest.mark.parametrize("picture", [run_latencies, run_load, run_timelines])
def test_a_picture_says_what_it_is_of_and_its_legends_lie_on_no_data(picture, small_run, tmp_path):
    figure = picture(small_run)
    drawn(figure, tmp_path)

    assert figure.get_supxlabel().splitlines()[-1] == (
        "disaggregated · prefill 1 x h100-sxm-80gb + decode 1 x h100-sxm-80gb · llama-3.1-8b · 6 requests/s · seed 1 · "
        f"llmsim {__version__}"
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None:
            assert not any(legend.get_window_extent(renderer).overlaps(one.get_window_extent()) for one in figure.axes)


def test_text_is_text_in_svg_and_pdf_and_the_same_bytes_each_time(small_run, tmp_path):
    files = [tmp_path / f"{place}.png" for place in "ab"]
    for file in files:
        save(run_timelines(small_run), file, ("png", "svg", "pdf"))

    assert ">seconds since arrival</text>" in files[0].with_suffix(".svg").read_text()
    assert b"/Type3" not in files[0].with_suffix(".pdf").read_bytes()
    for ending in (".png", ".svg", ".pdf"):
        first, second = (file.with_suffix(ending).read_bytes() for file in files)
        assert first == second, ending


def test_instances_have_the_names_of_their_roles(small_run):
    assert instance_names(small_run.scenario) == ["prefill 0", "decode 1"]


def test_a_caption_leaves_out_what_is_varied():
    scenario = load_scenario("quickstart")

    assert caption(scenario, seeds=3, varied=["cluster.instances", "workload.arrivals.rate_per_s"]) == (
        f"quickstart · a100-sxm4-80gb · llama-3.1-8b · seeds 1 to 3 · llmsim {__version__}"
    )


def test_rates_are_means_over_bins_of_what_is_spread_evenly_over_rows():
    edges_s = np.array([0.0, 1.0, 2.0, 4.0])
    # 6 tokens over 0 to 3 s: 2 a second; 4 over 1 to 2 s; 1 that takes no time, at 3 s
    got = rates_per_s(np.array([0.0, 1.0, 3.0]), np.array([3.0, 2.0, 3.0]), np.array([6, 4, 1]), edges_s)

    np.testing.assert_allclose(got, [2.0, 2.0 + 4.0, (2.0 * 1 + 1) / 2], atol=1e-6)
