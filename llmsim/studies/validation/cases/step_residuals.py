"""By how much steps of each kind are off, and how often intervals made of that hold what was left out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from llmsim.latency import hardware
from llmsim.latency.host import Host
from llmsim.latency.residuals import COMPOSED, FULL_BATCH, RESIDUALS, ROOFLINE, Kind, Residual
from llmsim.latency.roofline import Roofline
from llmsim.record import Floats
from llmsim.studies.validation.case_report import Check, Point, Report
from llmsim.studies.validation.cases.mlenergy import CONTEXT_TOKENS, HOST, Steady, read_steady

#: shipped numbers are those of the data to so much
ROUNDING = 0.006
#: probability beyond either end of a 90 % interval
TAIL = 0.05
ABOUT = (
    "Logarithms of measured over predicted decode steps, ML.ENERGY's runs of vLLM 0.11.1: a value for each model on "
    "each kind of GPU, mean and standard deviation. Covered: how many of them lie in the 90 % interval that Student's "
    "t predicts from all others."
)


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Take the residuals of every kind; targets are that they are the shipped ones."""
    runs, _ = read_steady(data_dir, progress)
    found = {kind: _by_group(runs, kind) for kind in RESIDUALS}
    rows = [
        {
            "step_times": str(kind),
            "groups": len(logs),
            "mean": residual_of(logs).mean,
            "deviation": residual_of(logs).deviation,
            "covered": covered(logs),
        }
        for kind, logs in found.items()
    ]
    return Report(
        case="step-residuals",
        about=ABOUT,
        points=tuple(Point(run.group, run.label, "s", run.measured_s, run.with_host_s) for run in runs),
        checks=tuple(check for kind, logs in found.items() for check in _checks(kind, residual_of(logs))),
        rows=tuple(rows),
    )


def residual_of(logs: Floats) -> Residual:
    """Mean and standard deviation of the groups' logarithms, (groups,)."""
    return Residual(float(logs.mean()), float(logs.std(ddof=1)), len(logs))


def covered(logs: Floats) -> float:
    """Share of groups that lie in the 90 % interval of the others."""
    inside = 0
    for i, one in enumerate(logs):
        rest = residual_of(np.delete(logs, i))
        inside += rest.quantile(TAIL) <= one <= rest.quantile(1 - TAIL)
    return inside / len(logs)


def _checks(kind: Kind, found: Residual) -> Iterator[Check]:
    shipped = RESIDUALS[kind]
    yield Check(f"{kind}: mean as shipped", found.mean - shipped.mean, ROUNDING, "")
    yield Check(f"{kind}: deviation as shipped", found.deviation - shipped.deviation, ROUNDING, "")


def _by_group(runs: list[Steady], kind: Kind) -> Floats:
    """The median of each group's runs at such batches; step times launched otherwise than shipped are left out."""
    groups: dict[str, list[float]] = {}
    for run in runs:
        if (run.batch >= FULL_BATCH) == kind.full and not run.group.endswith("launched"):
            groups.setdefault(run.group, []).append(float(np.log(run.measured_s / _predicted_s(run, kind))))
    return np.array([np.median(logs) for logs in groups.values()])


def _predicted_s(run: Steady, kind: Kind) -> float:
    if kind.basis == COMPOSED:
        return run.with_host_s if kind.host else run.gpu_s
    assert kind.basis == ROOFLINE
    model, _, on = run.group.partition(" on ")
    gpus, _, gpu = on.removesuffix(" EP").partition(" x ")
    latency = Roofline(hardware.load_gpu(gpu), hardware.load_model(model), int(gpus))
    batch = max(1, round(run.batch))
    tokens = batch * CONTEXT_TOKENS[run.task]
    if not kind.host:
        return latency.step_time_s((), batch, tokens)
    host = hardware.load_host(HOST)
    whole = Host(latency, host.step_s, host.sequence_s, host.eager_step_s, host.max_cudagraph_capture_size)
    return whole.step_time_s((), batch, tokens)
