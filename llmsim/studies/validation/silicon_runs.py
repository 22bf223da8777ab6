"""Reads aiconfigurator's closed-loop measurements: one row a run, dense models whose operators were measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.latency import hardware
from llmsim.workload.contract import Workload

FOLDER = "groundtruth/aiconfigurator_silicon"
FILES = ("silicon_refs.csv", "silicon_sample.csv.gz")
GPUS = {"h100_sxm": "h100-sxm-80gb", "h200_sxm": "h200-sxm"}
MODELS = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "Qwen/Qwen3-32B": "qwen3-32b",
}
#: types of the weights as the data say it; no entry is taken as the published type, bf16
WEIGHTS = ("", "fp8")
ROUNDS = 5  #: requests of each client
COLUMNS = ("isl", "osl", "batch_size", "tp_size", "silicon_tpot_ms", "silicon_ttft_ms")


@dataclass(frozen=True)
class Run:
    """One measured run: `concurrency` clients, each with its next request as soon as it has the last answer."""

    gpu: str
    backend: str
    model: str
    weights: str  #: bf16 or fp8
    tensor_parallel_size: int
    concurrency: int
    prompt_tokens: int
    output_tokens: int
    tpot_s: float
    ttft_s: float

    @property
    def group(self) -> str:
        """What points are compared by."""
        return f"{self.gpu.split('-')[0].upper()} {self.backend} {self.model} {self.weights}"

    @property
    def label(self) -> str:
        """The run within its group."""
        return f"TP{self.tensor_parallel_size} {self.concurrency} x {self.prompt_tokens} + {self.output_tokens}"

    def requests_per_s(self) -> float:
        """By Little's law: clients over the time of a request."""
        return self.concurrency / (self.ttft_s + (self.output_tokens - 1) * self.tpot_s)

    def use_of_peak(self) -> float:
        """Share of the data sheet's FLOP/s that computing the prompts takes: two for each token and layer weight."""
        gpu, model = self.hardware()
        weights = model.parameters - 2 * model.vocab_size * model.hidden_size
        peak = gpu.fp8_flop_per_s if model.quantization and gpu.fp8_flop_per_s else gpu.bf16_flop_per_s
        return 2 * weights * self.prompt_tokens * self.requests_per_s() / (peak * self.tensor_parallel_size)

    def hardware(self) -> tuple[hardware.Gpu, hardware.Model]:
        """GPU and model, with the weights of this run."""
        model = hardware.load_model(f"{self.model}-fp8" if self.weights == "fp8" else self.model)
        return hardware.load_gpu(self.gpu), model

    def workload(self) -> Workload:
        """All requests, ready at time 0."""
        each = np.ones(ROUNDS * self.concurrency, dtype=np.int64)
        return Workload(np.zeros(len(each)), each * self.prompt_tokens, each * self.output_tokens, self.label)


def read_runs(data_dir: Path) -> list[Run]:
    """Read the aggregated (not disaggregated) runs of `MODELS` on `GPUS` in bf16 or fp8, each once."""
    table = pd.concat([_read(data_dir / FOLDER / name) for name in FILES], ignore_index=True)
    wanted = (table["mode"] == "agg") & table.system.isin(list(GPUS)) & table.model_path.isin(list(MODELS))
    table = table[wanted].assign(gemm_quant_mode=table.gemm_quant_mode.astype(object).fillna(""))
    table = table[table.gemm_quant_mode.isin(WEIGHTS)]
    key = ["system", "backend", "backend_version", "model_path", "gemm_quant_mode", *COLUMNS]
    runs = []
    for row in table.drop_duplicates(key).sort_values(key, kind="stable")[key].to_dict("records"):
        runs.append(
            Run(
                gpu=GPUS[row["system"]],
                backend=str(row["backend"]),
                model=MODELS[row["model_path"]],
                weights=row["gemm_quant_mode"] or "bf16",
                tensor_parallel_size=int(row["tp_size"]),
                concurrency=int(row["batch_size"]),
                prompt_tokens=int(row["isl"]),
                output_tokens=int(row["osl"]),
                tpot_s=1e-3 * row["silicon_tpot_ms"],
                ttft_s=1e-3 * row["silicon_ttft_ms"],
            )
        )
    return runs


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, low_memory=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    lacking = [name for name in (*COLUMNS, "system", "mode", "gemm_quant_mode") if name not in table]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; expected aiconfigurator's measurements")
    return table
