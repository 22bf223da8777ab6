"""The pictures of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from llmsim.experiment import Result, make_slo, make_window
from llmsim.experiment.autoscaling import usd_per_instance_hour
from llmsim.metrics.gaps import pooled_gaps
from llmsim.metrics.ranges import select
from llmsim.metrics.request_latency import tpot_s, ttft_s
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.slo import meets
from llmsim.metrics.window import resolve
from llmsim.reports.plots.caption import caption, instance_names
from llmsim.reports.plots.instances_plot import instances_figure
from llmsim.reports.plots.latency_plot import latency_figure
from llmsim.reports.plots.load_plot import load_figure
from llmsim.reports.plots.style import save
from llmsim.reports.plots.timelines_plot import spread, timelines_figure
from llmsim.statistics import STEADY


def draw(result: Result, folder: Path, formats: Sequence[str] = ("png",)) -> None:
    """Write latencies.png, load.png and timelines.png into a folder; instances.png where instances come and go."""
    for name, picture in (("latencies", run_latencies), ("load", run_load), ("timelines", run_timelines)):
        save(picture(result), folder / f"{name}.png", formats)
    if result.scenario.autoscaling is not None:
        save(run_instances(result), folder / "instances.png", formats)


def run_latencies(result: Result) -> Figure:
    """Draw how long the users of a run waited whose requests its window counts, against its SLO."""
    slo = result.scenario.slo
    counted = resolve(make_window(result.scenario), result.delivered).counted
    timelines = select(result.delivered, counted)
    gaps_s, weights = pooled_gaps(timelines)
    bounds_s = (slo.ttft_s, slo.tpot_s, slo.tbt_s)
    answer = result.score.section(RunVerdict).answer
    notes = [f"{len(timelines):,} of {len(counted):,} requests, those of the window"] if not counted.all() else []
    notes += [f"{answer}: these p99s are no forecast"] if answer != STEADY else []
    return latency_figure(
        ttft_s(timelines),
        tpot_s(timelines),
        gaps_s,
        weights,
        bounds_s=bounds_s,
        note="; ".join(notes),
        caption=caption(result.scenario),
    )


def run_load(result: Result) -> Figure:
    """Draw how busy the instances of a run were, and when its SLO was missed."""
    scenario, requests = result.scenario, result.record.requests
    slo = make_slo(scenario)
    return load_figure(
        result.record.steps,
        requests,
        num_gpu_blocks=result.num_gpu_blocks,
        names=instance_names(scenario),
        missed=None if slo is None else ~meets(result.delivered, slo),
        caption=caption(scenario),
    )


def run_instances(result: Result) -> Figure:
    """Draw the load of a run, the instances that it called up, and what they cost."""
    record, scenario = result.record, result.scenario
    assert scenario.autoscaling is not None
    return instances_figure(
        record.instance_states,
        record.requests,
        end_s=record.end_s,
        usd_per_instance_hour=usd_per_instance_hour(scenario),
        most_instances=scenario.most_instances,
        caption=caption(scenario),
    )


def run_timelines(result: Result) -> Figure:
    """Draw when a few users of a run got their tokens, against its reader."""
    user = result.scenario.user
    picked = spread(result.delivered, result.record.requests["preemptions"])
    return timelines_figure(
        result.delivered,
        picked,
        tokens_per_s=user.tokens_per_s,
        anchor=user.anchor,
        offset_s=user.offset_s,
        caption=caption(result.scenario),
    )
