"""How far step-time models are from the composed reference steps, for each GPU, model and kind of step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.hardware import Gpu, list_gpus, list_models, load_gpu, load_model
from llmsim.latency.contract import LatencyModel
from llmsim.latency.profile import StatedError, StepProfile, list_profiles, load_profile
from llmsim.latency.roofline import Roofline
from llmsim.latency.table import Table

REFERENCE = "profiles/iteration_times_ms.csv"
KINDS = ("prefill", "decode", "mixed", "all")


@dataclass(frozen=True, slots=True)
class StepError:
    """Absolute relative errors of one model over the reference points of one kind, in percent."""

    latency: str  #: "table" or "roofline"
    gpu: str
    model: str
    tensor_parallel_size: int
    kind: str  #: "prefill", "decode", "mixed" or "all"
    points: int
    median_percent: float
    p90_percent: float
    worst_percent: float  #: signed: above zero, predicted too slow
    worst_point: str


def step_errors(data_dir: Path | str) -> list[StepError]:
    """Compare `Table` and `Roofline` with the reference steps in `data_dir`, for every GPU and model with a profile.

    Points of GPUs or models without a profile are left out (`not_compared` names them).
    """
    rows: list[StepError] = []
    shipped = list_profiles()
    for (gpu, name, size), points in _groups(data_dir):
        if gpu is None or name not in list_models():
            continue
        if (gpu.name, name, size) in shipped:
            rows += _errors("table", Table(load_profile(gpu.name, name, size)), gpu.name, name, size, points)
        rows += _errors("roofline", Roofline(gpu, load_model(name), size), gpu.name, name, size, points)
    return rows


def not_compared(data_dir: Path | str) -> list[str]:
    """Return what the reference has and we have no measured operators for: "<gpu> <model> tp<k>", sorted."""
    shipped = list_profiles()
    return [
        f"{points.gpu.iloc[0]} {name} tp{size}"
        for (gpu, name, size), points in _groups(data_dir)
        if gpu is None or (gpu.name, name, size) not in shipped
    ]


def stated_error(profile: StepProfile, data_dir: Path | str) -> StatedError | None:
    """Error of a composed profile against the reference, to be written into it; None without reference points."""
    for (gpu, name, size), points in _groups(data_dir):
        if gpu is not None and (gpu.name, name, size) == (profile.gpu, profile.model, profile.tensor_parallel_size):
            row = _errors("table", Table(profile), gpu.name, name, size, points)[-1]
            return StatedError(
                against=f"shared/data/{REFERENCE}",
                points=row.points,
                median_percent=round(row.median_percent, 2),
                p90_percent=round(row.p90_percent, 2),
            )
    return None


def relative_errors(latency: LatencyModel, points: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(predicted - reference) / reference for each row of the reference table."""
    times_s = [
        latency.step_time_s(((0, prefill),) if prefill else (), decoding, decoding * context)
        for prefill, decoding, context in zip(
            points.prefill_tokens.tolist(), points.decode_bs.tolist(), points.context.tolist(), strict=True
        )
    ]
    return np.array(times_s) / (points.iter_ms.to_numpy() * 1e-3) - 1


def _groups(data_dir: Path | str) -> list[tuple[tuple[Gpu | None, str, int], pd.DataFrame]]:
    path = Path(data_dir) / REFERENCE
    if not path.is_file():
        raise InputError(f"{path}: not found, expected the reference step times")
    gpus = {gpu.operator_tables: gpu for gpu in map(load_gpu, list_gpus())}
    groups = pd.read_csv(path).groupby(["gpu", "model", "tp"])
    return [((gpus.get(gpu), model.lower(), int(tp)), points) for (gpu, model, tp), points in groups]


def _errors(
    latency: str, model: LatencyModel, gpu: str, name: str, size: int, points: pd.DataFrame
) -> Sequence[StepError]:
    error = relative_errors(model, points)
    rows = []
    for kind in KINDS:
        of_kind = np.flatnonzero((points.kind == kind).to_numpy() | (kind == "all"))
        if not len(of_kind):
            continue
        percent = 100 * error[of_kind]
        worst = int(np.abs(percent).argmax())
        median, p90 = np.percentile(np.abs(percent), [50, 90])
        rows.append(
            StepError(
                latency=latency,
                gpu=gpu,
                model=name,
                tensor_parallel_size=size,
                kind=kind,
                points=len(of_kind),
                median_percent=float(median),
                p90_percent=float(p90),
                worst_percent=float(percent[worst]),
                worst_point=_in_words(points.iloc[of_kind[worst]]),
            )
        )
    return rows


def _in_words(point: pd.Series) -> str:
    parts = []
    if point.prefill_tokens:
        parts.append(f"prefill {point.prefill_tokens}")
    if point.decode_bs:
        parts.append(f"{point.decode_bs} x context {point.context}")
    return " + ".join(parts)
