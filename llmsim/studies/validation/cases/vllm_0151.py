"""vLLM 0.15.1 serving Llama-3.1-8B on an H100, an A100 and an L40S: asynchronous, all prompts cached, by stage.

What the runs state: max_num_seqs 128, max_num_batched_tokens 2048, 0.9 of the memory, max_model_len 4096, CUDA graphs
of up to 256 tokens; 100 prompts of 547 tokens in turn, ten of which begin with the same 100; 248 output tokens; Poisson
arrivals. Three host constants are fitted on the H100 alone; the other GPUs are predicted with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from llmsim.errors import InputError
from llmsim.latency.hardware import HostTimes
from llmsim.scenario import load_scenario
from llmsim.studies.validation.case_report import Check, Constant, Point, Report, Row
from llmsim.studies.validation.host_fit import ASYNCHRONOUS, fit_host
from llmsim.studies.validation.load_stages import Stage, read_stages, said
from llmsim.studies.validation.replay import Floats
from llmsim.studies.validation.stage_fit import StagedEngine

FILE = "groundtruth/vllm_0151/stages.csv"
FITTED_RUN = "h100-8b"
SCENARIO, SEED = "vllm_0151", 1
FITTED = ("ttft_mean_s", "tpot_mean_s", "e2e_mean_s")
AGGREGATES = ("ttft_mean_s", "ttft_p90_s", "ttft_p99_s", "tpot_mean_s", "e2e_mean_s", "e2e_p90_s", "e2e_p99_s")
COLUMNS = ("run", "gpu", "model", "stage", *AGGREGATES)
#: percent, as the targets of the predicted runs; P90s have none
LIMITS = {"e2e_mean_s": 4.0, "tpot_mean_s": 4.0, "ttft_mean_s": 8.0, "ttft_p99_s": 15.0, "e2e_p99_s": 15.0}

ABOUT = (
    "vLLM 0.15.1 (asynchronous scheduling, prefix caching), Llama-3.1-8B in bf16, one GPU; 547 tokens in, all but 3 of "
    "them cached, 248 out, Poisson arrivals, two stages of ten minutes a run; our chunked_prefill (2048 tokens a step, "
    "128 seats) over composed step times, host and GPU overlapped. Fitted on the H100 alone: what nothing overlaps in "
    "a step and for each sequence in it, and the API path of a request, to mean TTFT, TPOT and E2E of both stages; "
    "percentiles are not fitted."
)


def engine_of(stages: Sequence[Stage]) -> StagedEngine:
    """The scenario of the runs on the GPU of one of them."""
    scenario = load_scenario(SCENARIO, ["host.profile=null"])
    cluster = scenario.cluster.model_copy(update={"gpu": stages[0].gpu, "model": stages[0].model})
    return StagedEngine(scenario.model_copy(update={"cluster": cluster}), tuple(stages))


def served(stages: Sequence[Stage], host: HostTimes, seed: int = SEED) -> Floats:
    """Predict what was measured of each stage; seconds, (stages, aggregates), in order of `AGGREGATES`."""
    engine = engine_of(stages)
    of_stage = [
        dict(zip(stage.measured, row, strict=True))
        for stage, row in zip(stages, engine.serve(engine.requests(seed), host), strict=True)
    ]
    return np.array([[row[name] for name in AGGREGATES] for row in of_stage])


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Fit on both stages of the H100, freeze, predict the other GPUs."""
    runs = read_stages(data_dir / FILE, COLUMNS)
    if FITTED_RUN not in runs:
        raise InputError(f"{data_dir / FILE}: has no run {FITTED_RUN}, on which the host is fitted")
    progress(0, len(runs))
    host = fitted_host(runs[FITTED_RUN])
    points: list[tuple[str, Point]] = []
    for done, (name, stages) in enumerate(runs.items(), start=1):
        role = "fitted" if name == FITTED_RUN else "predicted"
        points += _points(stages, served(stages, host), role)
        progress(done, len(runs))
    return Report(
        case="vllm-0151",
        about=ABOUT,
        points=tuple(point for _, point in points),
        checks=tuple(
            Check(f"{point.label}: {point.group}", point.error_percent, LIMITS[column])
            for column, point in points
            if point.role == "predicted" and column in LIMITS
        ),
        rows=tuple(_row(point) for _, point in points),
        fitted=tuple(Constant(f"host {name}", getattr(host, name), "s", FITTED_RUN) for name in ASYNCHRONOUS),
        notes=_notes([point for _, point in points]),
    )


def fitted_host(stages: Sequence[Stage]) -> HostTimes:
    """The three constants that come closest to the means of a run's stages."""
    engine = engine_of(stages)
    requests = engine.requests(SEED)
    chosen = np.array([name in FITTED for name in stages[0].measured])

    def means(host: HostTimes) -> Floats:
        return np.concatenate([row[chosen] for row in engine.serve(requests, host)])

    measured = np.array([stage.measured[name] for stage in stages for name in stage.measured if name in FITTED])
    return fit_host(means, measured, names=ASYNCHRONOUS)


def _points(stages: Sequence[Stage], predicted: Floats, role: str) -> list[tuple[str, Point]]:
    return [
        (column, Point(said(column), stage.name, "s", stage.measured[column], float(value), role))
        for stage, row in zip(stages, predicted, strict=True)
        for column, value in zip(AGGREGATES, row, strict=True)
    ]


def _row(point: Point) -> Row:
    return {"stage": point.label, "role": point.role, "metric": point.group, **point.columns()}


def _notes(points: Sequence[Point]) -> tuple[str, ...]:
    """Medians over the predicted stages, and what the misses are."""
    predicted = [point for point in points if point.role == "predicted"]
    medians = ", ".join(
        f"{said(column)} {np.median([abs(p.error_percent) for p in predicted if p.group == said(column)]):.1f}"
        for column in AGGREGATES
    )
    short = ", ".join(
        f"{1e3 * (point.measured - point.predicted):.1f} ({point.label})"
        for point in predicted
        if point.group == said("ttft_mean_s")
    )
    return (
        f"Medians of |error| over the predicted stages, percent: {medians}.",
        "Percentiles of the first stages count the first hundred requests, whose prompts were not cached yet.",
        "A100 and L40S have FlashAttention 2: decodes beside a prompt take as long as tiles of a prompt do, by their "
        "operator tables (llmsim.latency.mixed_attention). Nothing of it is fitted to these runs.",
        f"Mean TTFT is still short by {short} ms. Stages do not tell a request's way to the engine, fitted on another "
        "machine, from what else a step with a prompt takes.",
        "TPOT of the A100 grows by 0.16 ms for each sequence more in flight, and by 0.1 ms as predicted: neither its "
        "attention (read at the peak, 0.04 ms) nor its matrix products as measured grow so. Not explained.",
    )
