"""Pictures of runs and traces: functions from data to a Matplotlib figure. No window, no global state."""

from __future__ import annotations

from llmsim.reports.plots.audit_plot import audit_figure
from llmsim.reports.plots.instances_plot import instances_figure
from llmsim.reports.plots.latency_plot import latency_figure
from llmsim.reports.plots.load_plot import load_figure
from llmsim.reports.plots.plan_plot import pareto_figure
from llmsim.reports.plots.run_plots import draw, run_instances, run_latencies, run_load, run_timelines
from llmsim.reports.plots.step_times_plot import MeasuredStep, step_times_figure
from llmsim.reports.plots.style import save
from llmsim.reports.plots.timelines_plot import spread, timelines_figure
from llmsim.reports.plots.tornado_plot import tornado_figure
from llmsim.reports.plots.trace_plot import fit_figure, trace_figure
from llmsim.reports.plots.validation_plot import validation_figure

__all__ = [
    "MeasuredStep",
    "audit_figure",
    "draw",
    "fit_figure",
    "instances_figure",
    "latency_figure",
    "load_figure",
    "pareto_figure",
    "run_instances",
    "run_latencies",
    "run_load",
    "run_timelines",
    "save",
    "spread",
    "step_times_figure",
    "timelines_figure",
    "tornado_figure",
    "trace_figure",
    "validation_figure",
]
