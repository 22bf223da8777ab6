"""How far step-time models are from the composed reference steps, for each GPU, model and kind of step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.latency.contract import LatencyModel
from llmsim.latency.gpu import Gpu
from llmsim.latency.hardware import list_gpus, list_models, load_gpu, load_model
from llmsim.latency.profile import StatedError, StepProfile, list_profiles, load_profile
from llmsim.latency.roofline import Roofline
from llmsim.latency.table import StepTable

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


@dataclass(frozen=True, eq=False)
class Reference:
    """Reference steps of one GPU and model."""

    gpu: Gpu | None  #: None: we have no profile of it
    label: str  #: as the file names it
    model: str
    tensor_parallel_size: int
    points: pd.DataFrame

    @property
    def shipped(self) -> bool:
        """Whether measured step times of these are shipped."""
        key = (self.gpu.name if self.gpu else "", self.model, self.tensor_parallel_size)
        return key in list_profiles()

    def within(self, profile: StepProfile) -> Reference:
        """The steps whose decode attention was measured; beyond, the reference goes on in proportion to the context."""
        decode = profile.decode_attention
        row = np.minimum(np.searchsorted(decode.sequences, self.points.decode_bs), len(decode.sequences) - 1)
        largest = np.array(decode.measured_context_tokens or decode.context_tokens[-1:] * len(decode.sequences))[row]
        return replace(self, points=self.points[(self.points.decode_bs == 0) | (self.points.context <= largest)])


def step_errors(data_dir: Path | str) -> list[StepError]:
    """Compare `Table` and `Roofline` with the reference steps in `data_dir`, for every GPU and model we know.

    `not_compared` names what is left out. Raises InputError without the reference file.
    """
    rows: list[StepError] = []
    for whole in references(data_dir):
        reference, gpu, size = whole, whole.gpu, whole.tensor_parallel_size
        if gpu is None or reference.model not in list_models():
            continue
        if reference.shipped:
            profile = load_profile(gpu.name, reference.model, size)
            reference = reference.within(profile)
            rows += _errors("table", summed(profile), gpu, reference)
        rows += _errors("roofline", Roofline(gpu, load_model(reference.model), size), gpu, reference)
    return rows


def not_compared(data_dir: Path | str) -> list[str]:
    """Return the reference's GPUs and models without shipped step times, as "<gpu> <model> tp<k>"."""
    return [reference.label for reference in references(data_dir) if not reference.shipped]


def stated_error(profile: StepProfile, data_dir: Path | str) -> StatedError | None:
    """Error of a profile against the reference, to be written into it; None without reference points."""
    for reference in references(data_dir):
        gpu, size = reference.gpu, reference.tensor_parallel_size
        wanted = (profile.gpu, profile.model, profile.tensor_parallel_size)
        if gpu is not None and (gpu.name, reference.model, size) == wanted:
            row = _errors("table", summed(profile), gpu, reference.within(profile))[-1]
            return StatedError(
                against=f"shared/data/{REFERENCE}",
                points=row.points,
                median_percent=round(row.median_percent, 2),
                p90_percent=round(row.p90_percent, 2),
            )
    return None


def summed(profile: StepProfile) -> StepTable:
    """The step times of a profile as the reference composes them: a mixed step is the sum of its operators."""
    return StepTable(profile.model_copy(update={"mixed_decode": None}))


def relative_errors(latency: LatencyModel, points: pd.DataFrame) -> NDArray[np.float64]:
    """(predicted - reference) / reference for each row of the reference table."""
    columns = (points[name].tolist() for name in ("prefill_tokens", "decode_bs", "context"))
    times_s = [
        latency.step_time_s(((0, prefill),) if prefill else (), decoding, decoding * context)
        for prefill, decoding, context in zip(*columns, strict=True)
    ]
    return np.asarray(np.array(times_s) / (points.iter_ms.to_numpy() * 1e-3) - 1)


def references(data_dir: Path | str) -> list[Reference]:
    """Read the reference steps, by GPU and model. Raises InputError without the file."""
    path = Path(data_dir) / REFERENCE
    if not path.is_file():
        raise InputError(f"{path}: not found, expected the reference step times")
    gpus = {gpu.operator_tables: gpu for gpu in map(load_gpu, list_gpus())}
    found = []
    for _, points in pd.read_csv(path).groupby(["gpu", "model", "tp"]):
        first = points.iloc[0]
        label = f"{first.gpu} {first.model} tp{first.tp}"
        found.append(Reference(gpus.get(first.gpu), label, str(first.model).lower(), int(first.tp), points))
    return found


def _errors(latency: str, model: LatencyModel, gpu: Gpu, reference: Reference) -> list[StepError]:
    percent = 100 * relative_errors(model, reference.points)
    kinds = reference.points.kind.to_numpy()
    rows = []
    for kind in KINDS:
        rows_of_kind = np.flatnonzero((kinds == kind) | (kind == "all"))
        if not len(rows_of_kind):
            continue
        error = percent[rows_of_kind]
        worst = int(np.abs(error).argmax())
        step = reference.points.iloc[rows_of_kind[worst]]
        median, p90 = np.percentile(np.abs(error), [50, 90])
        rows.append(
            StepError(
                latency=latency,
                gpu=gpu.name,
                model=reference.model,
                tensor_parallel_size=reference.tensor_parallel_size,
                kind=kind,
                points=len(error),
                median_percent=float(median),
                p90_percent=float(p90),
                worst_percent=float(error[worst]),
                worst_point=in_words(step.prefill_tokens, step.decode_bs, step.context),
            )
        )
    return rows


def in_words(prefill_tokens: int, decoding: int, context_tokens: int) -> str:
    """A step, such as ``prefill 8192``, ``8 x 512`` (sequences x context of each) or ``256 + 8 x 1024``."""
    if not decoding:
        return f"prefill {prefill_tokens}"
    decode = f"{decoding} x {context_tokens}"
    return f"{prefill_tokens} + {decode}" if prefill_tokens else decode
