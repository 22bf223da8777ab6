"""Reads aiconfigurator's closed-loop measurements: one row a run, models whose operators were measured.

Rows come from aiconfigurator's own runs, of whose settings nothing more is known, and from InferenceMAX, whose scripts
are public (github.com/SemiAnalysisAI/InferenceX, benchmarks/*.sh): what these say of lengths, scheduling and the KV
cache is taken from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.latency import hardware
from llmsim.latency.model import Quantization
from llmsim.workload.contract import Workload

FOLDER = "groundtruth/aiconfigurator_silicon"
FILES = ("silicon_refs.csv", "silicon_sample.csv.gz")
GPUS = {"h100_sxm": "h100-sxm-80gb", "h200_sxm": "h200-sxm", "b200_sxm": "b200-sxm"}
DENSE = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "Qwen/Qwen3-32B": "qwen3-32b",
}
#: mixtures of experts, as published: the type of their weights is the checkpoint's, whatever the data call it
MIXTURES = {
    "openai/gpt-oss-120b": "gpt-oss-120b",
    "deepseek-ai/DeepSeek-R1": "deepseek-r1",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b-fp8",
    "MiniMaxAI/MiniMax-M2.5": "minimax-m2.5",
}
#: engines whose kernels for experts were measured; and TensorRT-LLM, on one model, to hold vLLM's against another's
MIXTURE_ENGINES = ("vllm", "sglang")
ALSO_TRTLLM = "Qwen/Qwen3-235B-A22B-FP8"
#: and over ranks of attention, where no run of an engine whose kernels were measured is
RANKS_OF_TRTLLM = ("h200_sxm", "deepseek-ai/DeepSeek-R1")
#: types of the weights of dense models as the data say it; no entry is taken as the published type, bf16
WEIGHTS = ("", "fp8")
#: of a mixture: GPT-OSS is called nvfp4; MiniMax and DeepSeek were also measured in nvfp4, which is another checkpoint
MIXTURE_WEIGHTS = {"openai/gpt-oss-120b": ("nvfp4",)}
FP8 = Quantization(dtype="fp8", bits=8)
#: GPUs on which InferenceMAX's scripts ask for a KV cache in fp8; MiniMax's do in some versions. Llama-3.1-70B's does
#: on H100, too, but its requests wait as if it were bf16: 64 clients of 8192 + 1024 tokens on two GPUs have a TTFT of
#: 59 s, and the TPOT of 32; 232 thousand tokens fit in bf16 and 463 in fp8, which 29 and 57 clients need
FP8_KV_CACHE = {
    "llama-3.1-70b": ("h200-sxm", "b200-sxm"),
    "gpt-oss-120b": ("b200-sxm",),
    "deepseek-r1": ("b200-sxm",),
}
SHORTEST = 0.8  #: of the stated lengths: InferenceMAX draws from this share up, its random-range-ratio
ROUNDS = 5  #: requests of each client
OWN_RUNS = "aic-auto-gap-analysis"  #: what sources of aiconfigurator's own runs name
COLUMNS = ("isl", "osl", "batch_size", "tp_size", "silicon_tpot_ms", "silicon_ttft_ms")


@dataclass(frozen=True)
class Run:
    """One measured run: `concurrency` clients, each with its next request as soon as it has the last answer."""

    gpu: str
    backend: str
    version: str  #: of the backend, "" where the data do not say
    model: str
    weights: str  #: bf16 or fp8; "" for a mixture, whose name says it
    expert_parallel: bool
    tensor_parallel_size: int
    concurrency: int
    prompt_tokens: int
    output_tokens: int
    tpot_s: float
    ttft_s: float
    inferencemax: bool = False  #: whether it is of InferenceMAX
    data_parallel_size: int = 1  #: ranks of attention that share the experts

    @property
    def group(self) -> str:
        """What points are compared by."""
        gpu = self.gpu.split("-")[0].upper()
        if self.weights:
            return f"{gpu} {self.backend} {self.model} {self.weights}"
        spread = " DP" if self.data_parallel_size > 1 else " EP" if self.expert_parallel else ""
        return f"{gpu} {self.backend} {self.version} {self.model}{spread}"

    @property
    def label(self) -> str:
        """The run within its group."""
        ranks = f" DP{self.data_parallel_size}" if self.data_parallel_size > 1 else ""
        return f"TP{self.tensor_parallel_size}{ranks} {self.concurrency} x {self.prompt_tokens} + {self.output_tokens}"

    def requests_per_s(self) -> float:
        """By Little's law: clients over the time of a request."""
        return self.concurrency / (self.ttft_s + (self.output_tokens - 1) * self.tpot_s)

    def hardware(self) -> tuple[hardware.Gpu, hardware.Model]:
        """GPU and model, with the weights of this run."""
        model = hardware.load_model(self.model)
        if self.weights == "fp8":
            model = model.model_copy(update={"quantization": FP8})
        if self.inferencemax and self.gpu in FP8_KV_CACHE.get(self.model, ()):
            model = model.with_kv_cache("fp8")
        return hardware.load_gpu(self.gpu), model.over(self.tensor_parallel_size, None, self.data_parallel_size)

    @property
    def is_asynchronous(self) -> bool:
        """Whether the engine prepares its next step while the GPU computes: vLLM since 0.14, SGLang since 0.4.

        InferenceMAX asks earlier vLLM for it; TensorRT-LLM does it unless told not to.
        """
        return self.inferencemax or self.since({"vllm": (0, 14), "sglang": (0, 4), "trtllm": (1, 0)})

    @property
    def launches_fp8_blocks(self) -> bool:
        """Whether it is of vLLM before 0.13, which takes weights in blocks of fp8 kernel by kernel."""
        old = self.backend == "vllm" and not self.since({"vllm": (0, 13)})
        return old and self.hardware()[1].dtype_of("attention") == "fp8_block"

    def since(self, versions: Mapping[str, tuple[int, int]]) -> bool:
        """Whether the engine is of the version given for it, or a later one."""
        number, first = re.match(r"(\d+)\.(\d+)", self.version), versions.get(self.backend)
        return bool(number and first and (int(number[1]), int(number[2])) >= first)

    def workload(self) -> Workload:
        """All requests, ready at time 0; of InferenceMAX with lengths as it draws them."""
        draw, count = np.random.default_rng(self.concurrency), ROUNDS * self.concurrency
        prompts, outputs = (
            draw.integers(int(SHORTEST * most) if self.inferencemax else most, most, size=count, endpoint=True)
            for most in (self.prompt_tokens, self.output_tokens)
        )
        return Workload(np.zeros(count), prompts, outputs, self.label)


def read_runs(data_dir: Path) -> list[Run]:
    """Read the aggregated (not disaggregated) runs of `DENSE` and `MIXTURES` on `GPUS` in known types, each once."""
    table = pd.concat([_read(data_dir / FOLDER / name) for name in FILES], ignore_index=True)
    table = table[(table["mode"] == "agg") & table.system.isin(list(GPUS))]
    origin = table.get("silicon_data_source", pd.Series(OWN_RUNS, table.index)).fillna(OWN_RUNS)
    table = table.assign(
        inferencemax=~origin.str.contains(OWN_RUNS),
        gemm_quant_mode=table.gemm_quant_mode.astype(object).fillna(""),
        backend_version=table.backend_version.astype(object).fillna(""),
        moe_ep_size=table.get("moe_ep_size", pd.Series(1.0, table.index)).fillna(1).clip(lower=1),
        moe_tp_size=table.get("moe_tp_size", pd.Series(1.0, table.index)).fillna(1).clip(lower=1),
        attention_dp_size=table.get("attention_dp_size", pd.Series(1.0, table.index)).fillna(1),
    )
    table = pd.concat([table[_dense(table) | _mixture(table)].assign(ranks=1), _over_ranks(table)])
    key = ["system", "backend", "backend_version", "model_path", "gemm_quant_mode", "ranks", "moe_ep_size", *COLUMNS]
    rows = table.drop_duplicates(key).sort_values(key, kind="stable")[[*key, "inferencemax"]].to_dict("records")
    return [_run(row) for row in rows]


def _dense(table: pd.DataFrame) -> Any:
    return table.model_path.isin(list(DENSE)) & table.gemm_quant_mode.isin(WEIGHTS)


def _mixture(table: pd.DataFrame) -> Any:
    """Runs of one instance over tp_size GPUs whose experts are all shared or all dealt out."""
    engine = table.backend.isin(MIXTURE_ENGINES) | ((table.backend == "trtllm") & (table.model_path == ALSO_TRTLLM))
    whole = (table.moe_tp_size * table.moe_ep_size == table.tp_size) & (table.attention_dp_size <= 1)
    return engine & _in_known_types(table) & whole & ((table.moe_tp_size == 1) | (table.moe_ep_size == 1))


def _in_known_types(table: pd.DataFrame) -> Any:
    """Mixtures in the types of weights that were published, of stated versions of engines."""
    pairs = zip(table.model_path, table.gemm_quant_mode, strict=True)
    weights = np.array([mode in MIXTURE_WEIGHTS.get(path, ("fp8", "fp8_block")) for path, mode in pairs], dtype=bool)
    return table.model_path.isin(list(MIXTURES)) & (table.backend_version != "") & weights


def _over_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """Runs over ranks of attention that share experts, with the clients of all ranks and the GPUs of one.

    Clients are told by rank. vLLM's rows count GPUs twice: tp_size and attention_dp_size are both their number, which
    experts are dealt out to, moe_ep_size its square. Of these, runs that stand there also as experts dealt out without
    ranks are those: their TPOT is the same to 2 % (in 11 of 13 on H100, in all of 10 on B200).
    """
    table = table[_in_known_types(table)]
    ranks = table.attention_dp_size
    vllm = table[(table.backend == "vllm") & (ranks > 1) & (table.tp_size == ranks) & (table.moe_ep_size == ranks**2)]
    of_trtllm = (table.system == RANKS_OF_TRTLLM[0]) & (table.model_path == RANKS_OF_TRTLLM[1])
    single = (table.tp_size == 1) & (table.moe_tp_size == 1) & (table.moe_ep_size == ranks) & (ranks > 1)
    trtllm = table[(table.backend == "trtllm") & of_trtllm & single]
    same = ["system", "backend", "backend_version", "model_path", "isl", "osl", "tp_size", "batch_size"]
    without = set(table[(ranks <= 1) & (table.moe_ep_size > 1)][same].itertuples(index=False, name=None))
    found = pd.concat([vllm, trtllm]).assign(ranks=lambda rows: rows.attention_dp_size.astype(int))
    found = found.assign(batch_size=found.batch_size * found.ranks)
    kept = [row not in without for row in found[same].itertuples(index=False, name=None)]
    return found[kept].assign(tp_size=1)


def _run(row: dict[str, Any]) -> Run:
    path = row["model_path"]
    return Run(
        gpu=GPUS[row["system"]],
        backend=str(row["backend"]),
        version=str(row["backend_version"]),
        model=DENSE.get(path) or MIXTURES[path],
        weights="" if path in MIXTURES else row["gemm_quant_mode"] or "bf16",
        expert_parallel=path in MIXTURES and row["moe_ep_size"] > 1,
        tensor_parallel_size=int(row["tp_size"]),
        concurrency=int(row["batch_size"]),
        prompt_tokens=int(row["isl"]),
        output_tokens=int(row["osl"]),
        tpot_s=1e-3 * row["silicon_tpot_ms"],
        ttft_s=1e-3 * row["silicon_ttft_ms"],
        inferencemax=bool(row["inferencemax"]),
        data_parallel_size=int(row["ranks"]),
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, low_memory=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    lacking = [name for name in (*COLUMNS, "system", "mode", "gemm_quant_mode") if name not in table]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; expected aiconfigurator's measurements")
    return table
