"""The pictures of one run."""

from __future__ import annotations

from pathlib import Path

from llmsim.experiment import Result
from llmsim.metrics.latency import tpot_s, ttft_s
from llmsim.metrics.ranges import pooled_gaps
from llmsim.plots.distributions import latency_figure
from llmsim.plots.load import load_figure
from llmsim.plots.style import save
from llmsim.plots.timelines import spread, timelines_figure


def draw(result: Result, folder: Path) -> None:
    """Write latencies.png, load.png and timelines.png into a folder."""
    timelines, scenario = result.delivered, result.scenario
    slo, user = scenario.slo, scenario.user
    gaps_s, weights = pooled_gaps(timelines)
    bounds_s = (slo.ttft_s, slo.tpot_s, slo.tbt_s)
    latencies = latency_figure(ttft_s(timelines), tpot_s(timelines), gaps_s, weights, bounds_s=bounds_s)
    save(latencies, folder / "latencies.png")
    save(load_figure(result.record.steps, num_gpu_blocks=result.num_gpu_blocks), folder / "load.png")
    picked = spread(timelines, result.record.requests["preemptions"])
    figure = timelines_figure(
        timelines, picked, tokens_per_s=user.tokens_per_s, anchor=user.anchor, offset_s=user.offset_s
    )
    save(figure, folder / "timelines.png")
