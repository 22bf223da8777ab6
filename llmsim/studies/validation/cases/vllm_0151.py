"""vLLM 0.15.1 serving Llama-3.1-8B on an H100, an A100 and an L40S: asynchronous, all prompts cached, by stage.

What the runs state: max_num_seqs 128, max_num_batched_tokens 2048, 0.9 of the memory, max_model_len 4096, CUDA graphs
of up to 256 tokens; 100 prompts of 547 tokens in turn, ten of which begin with the same 100; 248 output tokens; Poisson
arrivals. Three host constants are fitted on the H100 alone; the other GPUs are predicted with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.cluster import InstanceSpec
from llmsim.cluster.clients import ApiPath
from llmsim.errors import InputError
from llmsim.latency import hardware
from llmsim.latency.build import build_latency
from llmsim.latency.hardware import HostTimes
from llmsim.latency.host import Host
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.studies.validation.case_report import Check, Constant, Point, Report
from llmsim.studies.validation.host_fit import ASYNCHRONOUS, fit_host
from llmsim.studies.validation.replay import Floats, Latencies, replay
from llmsim.studies.validation.stages import AGGREGATES, Stage, aggregates, read_stages
from llmsim.workload.arrivals.gamma import Gamma
from llmsim.workload.contract import Workload
from llmsim.workload.prefixes import Prefixes

FILE = "groundtruth/vllm_0151/stages.csv"
FITTED_RUN = "h100-8b"
FITTED = tuple(i for i, (_, percentile) in enumerate(AGGREGATES.values()) if percentile is None)  #: the means
MAX_NUM_SEQS, MAX_NUM_BATCHED_TOKENS, MAX_MODEL_LEN, MOST_CAPTURED = 128, 2048, 4096, 256
PROMPT_TOKENS, OUTPUT_TOKENS, SYSTEM_TOKENS, PROMPTS, SHARING = 547, 248, 100, 100, 10
#: percent, as the targets of the predicted runs; P90s have none
LIMITS = {"e2e_mean_s": 4.0, "tpot_mean_s": 4.0, "ttft_mean_s": 8.0, "ttft_p99_s": 15.0, "e2e_p99_s": 15.0}

ABOUT = (
    "vLLM 0.15.1 (asynchronous scheduling, prefix caching), Llama-3.1-8B in bf16, one GPU; 547 tokens in, all but 3 of "
    "them cached, 248 out, Poisson arrivals, two stages of ten minutes a run; our chunked_prefill (2048 tokens a step, "
    "128 seats) over composed step times, host and GPU overlapped. Fitted on the H100 alone: what nothing overlaps in "
    "a step and for each sequence in it, and the API path of a request, to mean TTFT, TPOT and E2E of both stages; "
    "percentiles are not fitted."
)


def workload(stages: Sequence[Stage], seed: int) -> Workload:
    """Draw the requests of a run, one stage after the other; the prompts of the first hundred are not cached yet."""
    rng = np.random.default_rng(seed)
    starts_s = np.cumsum([0.0, *(stage.duration_s for stage in stages)])
    arrival_s = np.concatenate(
        [
            start_s + Gamma(stage.rate_per_s, burstiness=1.0, rescale=True).times_s(rng, stage.requests)
            for stage, start_s in zip(stages, starts_s, strict=False)
        ]
    )
    count = len(arrival_s)
    prompt = np.resize(rng.permutation(PROMPTS), count)
    ids = np.stack([prompt // SHARING, PROMPTS // SHARING + prompt], axis=1).reshape(-1)
    ends = np.tile([SYSTEM_TOKENS, PROMPT_TOKENS], count)
    one = np.full(count, 1, dtype=np.int64)
    prefixes = Prefixes(ids, ends, 2 * np.arange(count + 1))
    return Workload(arrival_s, one * PROMPT_TOKENS, one * OUTPUT_TOKENS, stages[0].run, prefixes)


@dataclass(frozen=True)
class Engine:
    """One GPU with what is not fitted."""

    stages: tuple[Stage, ...]
    requests: Workload

    @classmethod
    def of(cls, stages: Sequence[Stage], seed: int = 1) -> Engine:
        """The engine of a run, and its requests."""
        return cls(tuple(stages), workload(stages, seed))

    def serve(self, host: HostTimes) -> Floats:
        """Predict what was measured of each stage; seconds, (stages, aggregates)."""
        seen = replay(
            self.requests, self._spec(host), api=ApiPath(host.request_s, host.prompt_token_s, host.response_s)
        )
        ends = np.cumsum([stage.requests for stage in self.stages])[:-1]
        parts = zip(*(np.split(getattr(seen, name), ends) for name in ("ttft_s", "tpot_s", "e2e_s")), strict=True)
        return np.array([aggregates(Latencies(*part)) for part in parts])

    def _spec(self, host: HostTimes) -> InstanceSpec:
        gpu, model = hardware.load_gpu(self.stages[0].gpu), hardware.load_model(self.stages[0].model)
        times = build_latency("table", gpu, model)
        return InstanceSpec(
            ChunkedPrefill(MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS),
            Host(
                times,
                serial_step_s=host.serial_step_s,
                serial_sequence_s=host.serial_sequence_s,
                overlapped=True,
            ),
            hardware.kv_blocks(gpu, model, max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS),
            MAX_MODEL_LEN,
            prefix_caching=True,
            async_scheduling=True,
        )


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Fit on both stages of the H100, freeze, predict the other GPUs."""
    runs = read_stages(data_dir / FILE)
    if FITTED_RUN not in runs:
        raise InputError(f"{data_dir / FILE}: has no run {FITTED_RUN}, on which the host is fitted")
    progress(0, len(runs))
    host = fitted_host(runs[FITTED_RUN])
    points: list[tuple[str, Point]] = []
    for done, (name, stages) in enumerate(runs.items(), start=1):
        role = "fitted" if name == FITTED_RUN else "predicted"
        points += _points(stages, Engine.of(stages).serve(host), role)
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
    engine, measured = Engine.of(stages), np.array([stage.measured for stage in stages])
    return fit_host(lambda host: engine.serve(host)[:, FITTED].ravel(), measured[:, FITTED].ravel(), names=ASYNCHRONOUS)


def _points(stages: Sequence[Stage], predicted: Floats, role: str) -> list[tuple[str, Point]]:
    return [
        (column, Point(_said(column), stage.name, "s", measured, float(value), role))
        for stage, row in zip(stages, predicted, strict=True)
        for column, measured, value in zip(AGGREGATES, stage.measured, row, strict=True)
    ]


def _said(column: str) -> str:
    """Such as ``mean TTFT`` for ttft_mean_s."""
    metric, percentile = AGGREGATES[column]
    return f"{'mean' if percentile is None else f'p{percentile}'} {metric[:-2].upper()}"


def _row(point: Point) -> dict[str, Any]:
    return {
        "stage": point.label,
        "role": point.role,
        "metric": point.group,
        "unit": point.unit,
        "measured": point.measured,
        "predicted": point.predicted,
        "error_percent": point.error_percent,
    }


def _notes(points: Sequence[Point]) -> tuple[str, ...]:
    """Medians over the predicted stages, and what the misses are."""
    predicted = [point for point in points if point.role == "predicted"]
    medians = ", ".join(
        f"{_said(column)} {np.median([abs(p.error_percent) for p in predicted if p.group == _said(column)]):.1f}"
        for column in AGGREGATES
    )
    short = ", ".join(
        f"{1e3 * (point.measured - point.predicted):.1f} ({point.label})"
        for point in predicted
        if point.group == _said("ttft_mean_s")
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
