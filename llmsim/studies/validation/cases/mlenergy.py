"""Gaps between tokens against batch: steady runs of ML.ENERGY's benchmark (vLLM 0.11.1), one instance each.

Nothing is tuned: a median gap is set beside the shipped step times of one decode step at the run's mean batch, the GPU
alone, and with the host times of vllm-0.11.0-h100, fitted to other people's runs. The data do not say how long prompts
are: contexts are assumed, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.latency import hardware
from llmsim.latency.compose import Choices, compose
from llmsim.latency.host import Host
from llmsim.latency.model import Architecture
from llmsim.latency.operators import Kernels
from llmsim.latency.power import step_work
from llmsim.latency.profile import find_profile, read_profile
from llmsim.latency.table import StepTable
from llmsim.studies.validation.case_report import Check, Point, Report, Row

FILE = "groundtruth/mlenergy/llm_runs.csv"
HOST = "vllm-0.11.0-h100"
#: tokens of context of a decoding sequence, assumed; up to 64 sequences 300 more or less move a step by less than 5 %
CONTEXT_TOKENS = {"lm-arena-chat": 700, "gpqa": 1200}
#: sequences in a batch up to which nearly every gap is that of a decode step: beyond, most steps have prompts in them
PURE_DECODE = 64
#: mixtures whose kernels were those of the operators, or near them; all others are shown, and not promised
PROMISED = (
    "gpt-oss-120b on 1 x H100",
    "gpt-oss-120b on 1 x B200",
    "qwen3-30b-a3b on 1 x H100",
    "qwen3-235b-a22b-fp8 on 4 x H100 EP, launched",
    "qwen3-235b-a22b-fp8 on 8 x H100 EP, launched",
)
#: GPUs on which weights in blocks of fp8 are composed besides as vLLM 0.12 takes them (`validate closed-loop`)
LAUNCHED_ON = ("H100",)
OPERATORS, LAUNCHED = "profiles/ops_moe", Choices(Kernels("vllm", "0.24.0"), expert_parallel=True, launched=True)
MEDIAN_PERCENT = 10.0  #: target for each of these: our own, as none is stated
COLUMNS = (
    "model",
    "task",
    "gpu",
    "num_gpus",
    "tensor_parallel",
    "expert_parallel",
    "avg_batch_size",
    "median_itl_ms",
    "output_tokens_per_s",
    "energy_per_token_j",
)

ABOUT = (
    "Median gap between tokens of steady runs (vLLM 0.11.1) against one decode step of our shipped step times at the "
    f"same batch of up to {PURE_DECODE}; contexts assumed (" + ", ".join(f"{t} {c}" for t, c in CONTEXT_TOKENS.items())
) + f" tokens). GPU alone; beside it with the host times of {HOST}."


@dataclass(frozen=True)
class Steady:
    """One steady run, and our decode step at its batch."""

    group: str
    task: str
    batch: float
    measured_s: float
    gpu_s: float
    with_host_s: float
    measured_j: float  #: of an output token
    predicted_j: float  #: at our step's time with the host; NaN where the GPU's power is not known

    @property
    def label(self) -> str:
        """The run within its group."""
        return f"{self.task}, batch {self.batch:.0f}"


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Compare every run whose step times are shipped."""
    runs, left_out = read_steady(data_dir, progress)
    rows = _rows(runs)
    promised = [row for row in rows if row["promised"]]
    return Report(
        case="mlenergy",
        about=ABOUT,
        points=tuple(Point(run.group, run.label, "s", run.measured_s, run.gpu_s) for run in runs),
        checks=tuple(Check(f"{row['group']}: median error", row["median_percent"], MEDIAN_PERCENT) for row in promised),
        rows=tuple(rows),
        notes=_notes(left_out),
    )


def read_steady(data_dir: Path, progress: Callable[[int, int], None]) -> tuple[list[Steady], list[str]]:
    """Runs with a shipped profile, and which models on which GPUs have none. InputError without the file."""
    table = _read(data_dir / FILE)
    table = table[table.task.isin(list(CONTEXT_TOKENS)) & (table.avg_batch_size <= PURE_DECODE + 1)]
    runs, left_out = [], []
    groups = [rows for _, rows in table.groupby(["model", "gpu", "num_gpus", "expert_parallel"])]
    for done, rows in enumerate(groups, start=1):
        first = rows.to_dict("records")[0]
        name, gpu, gpus, spread = first["model"], first["gpu"], first["num_gpus"], first["expert_parallel"] > 1
        found = _step_times(name, gpu, gpus, spread=spread)
        launched = _launched(data_dir, name, gpu, gpus) if spread and gpu in LAUNCHED_ON else None
        if found is None and launched is None:
            left_out.append(f"{name.rpartition('/')[2]} on {gpus} x {gpu}")
        for times, kind in ((found, " EP" if spread else ""), (launched, " EP, launched")):
            runs += [] if times is None else _steady(times, rows, gpus, gpu, kind)
        progress(done, len(groups))
    return runs, left_out


def _step_times(name: str, gpu: str, gpus: int, *, spread: bool) -> StepTable | None:
    try:
        profile = read_profile(find_profile(hardware.load_gpu(gpu), hardware.load_model(name), gpus))
    except InputError:
        return None
    return StepTable(profile) if (profile.expert_parallel_size > 1) == spread else None


def _launched(data_dir: Path, name: str, gpu: str, gpus: int) -> StepTable | None:
    """Step times of a model with weights in blocks of fp8, its experts dealt out, as vLLM 0.12 takes them."""
    try:
        model = hardware.load_model(name)
        if model.dtype_of("experts") != "fp8_block":
            return None
        return StepTable(compose(data_dir / OPERATORS, hardware.load_gpu(gpu), model, gpus, LAUNCHED))
    except InputError:
        return None


def _steady(table: StepTable, rows: pd.DataFrame, gpus: int, gpu: str, kind: str) -> list[Steady]:
    host = hardware.load_host(HOST)
    whole = Host(table, host.step_s, host.sequence_s, host.eager_step_s, host.max_cudagraph_capture_size)
    group = f"{table.profile.model} on {gpus} x {gpu}{kind}"
    on, model, found = hardware.load_gpu(gpu), table.profile.architecture, []
    for row in rows.sort_values(["task", "avg_batch_size"]).to_dict("records"):
        batch, context = max(1, round(row["avg_batch_size"])), CONTEXT_TOKENS[row["task"]]
        alone_s, lasts_s = (times.step_time_s((), batch, batch * context) for times in (table, whole))
        joules = _joules_a_step(on, model, gpus, batch, context, lasts_s) / batch
        measured = (1e-3 * row["median_itl_ms"], alone_s, lasts_s, row["energy_per_token_j"], joules)
        found.append(Steady(group, row["task"], row["avg_batch_size"], *measured))
    return found


def _joules_a_step(
    gpu: hardware.Gpu, model: Architecture, gpus: int, batch: int, context: int, lasts_s: float
) -> float:
    if gpu.power is None:
        return float("nan")
    moved, flop = step_work(model, np.array([batch]), np.array([batch]), np.array([batch * context]))
    each_s = lasts_s * gpus
    shares = moved / each_s / gpu.memory_bandwidth_bytes_per_s, flop / each_s / gpu.bf16_flop_per_s
    return float(gpus * lasts_s * gpu.power.drawn_w(*shares)[0])


def _rows(runs: Sequence[Steady]) -> Sequence[Row]:
    rows = []
    for group in dict.fromkeys(run.group for run in runs):
        mine = [run for run in runs if run.group == group]
        alone, with_host = (
            np.array([100 * (getattr(run, which) / run.measured_s - 1) for run in mine])
            for which in ("gpu_s", "with_host_s")
        )
        rows.append(
            {
                "group": group,
                "points": len(mine),
                "batch": f"{min(run.batch for run in mine):.0f}-{max(run.batch for run in mine):.0f}",
                "median_percent": float(np.median(np.abs(alone))),
                "bias_error_percent": float(np.median(alone)),
                "with_host_percent": float(np.median(np.abs(with_host))),
                "energy_percent": float(np.median([abs(100 * (run.predicted_j / run.measured_j - 1)) for run in mine])),
                "promised": group in PROMISED,
            }
        )
    return rows


def _notes(left_out: Sequence[str]) -> tuple[str, ...]:
    return (
        "Median of the absolute errors of the GPU alone; the bias is that of the signed ones; with host: the same with "
        "the host's time. vLLM 0.11.1 lets GPU and host wait for each other, so that the host's time is on top.",
        "Energy: of an output token, with the host; two factors of each GPU are fitted to llama-3.1-8b's runs here, so "
        "that its row proves nothing.",
        "Experts over several GPUs (EP) had kernels of another age: shown, and not promised. Launched: matrix products "
        "in blocks of fp8 one by one, and all experts in every step, as vLLM 0.12 was found to take them on H200 "
        "(`validate closed-loop`); chosen without these runs.",
        f"Without shipped step times, so left out: {', '.join(left_out)}.",
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    lacking = [name for name in COLUMNS if name not in table]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; expected runs of ML.ENERGY's benchmark")
    return table
