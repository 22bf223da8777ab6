"""Measured operator latencies of one GPU: aiconfigurator's Parquet tables, as curves against their size.

A table lies at <ops_dir>/<gpu>/<kind>/<backend>/<version>/<operator>_perf.parquet. Backend and version are those of
the engine whose kernels were measured, and are always explicit: kernels of two versions are never mixed unasked.
Medians over kernels. Times in seconds, per operator call; one call of attention or experts is one layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmsim.errors import InputError, nearest

Floats = NDArray[np.float64]
Curve = tuple[Floats, Floats]  #: (sizes, seconds)

#: our types of weights -> those of the tables of experts
MOE_DTYPES = {"bfloat16": "bfloat16", "fp8": "fp8", "fp8_block": "fp8_block", "mxfp4": "w4a16_mxfp4", "int4": "int4_wo"}
#: a table of matrix products whose smallest takes longer than this holds the time of launches, not of the work
LAUNCH_BOUND_S = 40e-6


@dataclass(frozen=True)
class Kernels:
    """An engine whose kernels were measured, such as vllm/0.24.0."""

    backend: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Kernels:
        """Read "backend/version"."""
        backend, slash, version = text.partition("/")
        if not (backend and slash and version):
            raise InputError(f"'{text}', expected BACKEND/VERSION, such as vllm/0.24.0")
        return cls(backend, version)

    def __str__(self) -> str:
        return f"{self.backend}/{self.version}"


@dataclass(frozen=True)
class Heads:
    """Attention heads of one GPU, and what their kernels depend on."""

    query: float
    kv: int
    dim: int = 128
    kv_cache_dtype: str = "bfloat16"
    window_tokens: int = 0  #: 0: no window

    @property
    def rows(self) -> dict[str, int | str]:
        """What the columns of the tables must say."""
        return {"head_dim": self.dim, "kv_cache_dtype": self.kv_cache_dtype, "window_size": self.window_tokens}


@dataclass(frozen=True)
class ExpertSizes:
    """The routed experts of one layer, as their tables are asked for."""

    hidden_size: int
    moe_intermediate_size: int
    num_experts_per_tok: int
    num_experts: int
    tensor_parallel_size: int
    expert_parallel_size: int
    dtype: str  #: of the weights, ours
    routing: str = "balanced"

    @property
    def rows(self) -> dict[str, int | str]:
        """What the columns of the tables must say."""
        return {
            "hidden_size": self.hidden_size,
            "inter_size": self.moe_intermediate_size,
            "topk": self.num_experts_per_tok,
            "num_experts": self.num_experts,
            "moe_tp_size": self.tensor_parallel_size,
            "moe_ep_size": self.expert_parallel_size,
            "moe_dtype": MOE_DTYPES[self.dtype],
            "distribution": self.routing,
        }


class Operators:
    """The tables of one GPU and engine, each read on first use.

    `kernels`: left out, the only engine whose matrix products were measured; InputError where there are several.
    `gemm_kernels`: of matrix products, where they are to come from another engine. `launched`: tables of matrix
    products that hold launches are meant.
    """

    def __init__(
        self,
        ops_dir: Path | str,
        folder: str,
        kernels: Kernels | None = None,
        gemm_kernels: Kernels | None = None,
        *,
        launched: bool = False,
    ) -> None:
        self.root = Path(ops_dir) / folder
        if not self.root.is_dir():
            raise InputError(f"{ops_dir}: no operators of '{folder}'{nearest(folder, _folders(Path(ops_dir)))}")
        self.kernels = kernels or self._only_kernels()
        self.gemm_kernels = gemm_kernels or self.kernels
        self._launched = launched
        for wanted in (self.kernels, self.gemm_kernels):
            if wanted not in self._all_kernels():
                raise InputError(
                    f"{self.root}: nothing of {wanted}{nearest(str(wanted), map(str, self._all_kernels()))}"
                )
        self._files: dict[str, pd.DataFrame] = {}
        self._tables: dict[str, pd.DataFrame] = {}

    def gemm_s(self, n: float, k: float, dtype: str = "bfloat16") -> Curve:
        """(m, seconds) of an m×k by k×n product, bilinear in (n, k) between measured points.

        `dtype` is that of the weights: bfloat16, fp8, fp8_block.
        Beyond the largest measured n the time grows in proportion (vocabularies are wider than any table).
        """
        table = self._gemm_table(dtype)
        columns = table.columns
        low_n, high_n, at_n = _around(columns.get_level_values(0).unique(), n)
        low_k, high_k, at_k = _around(columns.get_level_values(1).unique(), k)
        beyond = max(1.0, n / high_n)
        parts = [
            (low_n, low_k, (1 - at_n) * (1 - at_k)),
            (high_n, low_k, at_n * (1 - at_k)),
            (low_n, high_k, (1 - at_n) * at_k),
            (high_n, high_k, at_n * at_k),
        ]
        used = [(a, b, weight) for a, b, weight in parts if weight]
        if any((a, b) not in columns for a, b, _ in used):
            raise InputError(f"{self.root}: matrix product n = {n:g}, k = {k:g} lies outside what was measured")
        time_s = sum(table[(a, b)] * weight for a, b, weight in used)
        assert isinstance(time_s, pd.Series)
        return _curve(time_s * beyond)

    def _gemm_table(self, dtype: str) -> pd.DataFrame:
        table = self._pivot("gemm", "m", ["n", "k"], {"gemm_dtype": dtype})
        if table.empty:
            raise InputError(f"{self.root}: matrix products in {dtype} were not measured ({self.gemm_kernels})")
        fastest_s = float(table.iloc[0].min())
        if fastest_s > LAUNCH_BOUND_S and not self._launched:
            others = [str(kernels) for kernels in self._all_kernels() if kernels != self.gemm_kernels]
            raise InputError(
                f"{self.root}: matrix products in {dtype} of {self.gemm_kernels} take {1e6 * fastest_s:.0f} us and "
                "more, whatever their size: launches, not work; take those of "
                f"{' or '.join(others) or 'another engine'}"
            )
        return table

    def moe_s(self, sizes: ExpertSizes) -> Curve:
        """(tokens before they are sent to k experts each, seconds) of the routed experts of one layer on one GPU."""
        table = self._pivot("moe", "num_tokens", [], sizes.rows)
        if table.empty:
            split = f"TP{sizes.tensor_parallel_size}, EP{sizes.expert_parallel_size}"
            raise InputError(
                f"{self.root}: experts of {sizes.hidden_size} x {sizes.moe_intermediate_size}, "
                f"{sizes.num_experts_per_tok} of {sizes.num_experts}, {sizes.dtype}, {split}, {sizes.routing} "
                f"were not measured ({self.kernels})"
            )
        return _curve(table.iloc[:, 0])

    def prefill_attention_s(self, heads: Heads) -> pd.DataFrame:
        """Seconds, prompt tokens × sequences, for prompts without a cached prefix. NaN where not measured."""
        return self._attention("context_attention", "isl", heads)

    def decode_attention_s(self, heads: Heads) -> pd.DataFrame:
        """Seconds, context tokens × sequences. NaN where not measured.

        More KV heads than were measured: as many times fewer, of as many times more sequences. It is the same work,
        and fills the GPU as much.
        """
        most = self.most_decode_kv_heads(heads)
        if heads.kv <= most:
            return self._attention("generation_attention", "context", heads)
        times = heads.kv / most
        fewer = Heads(heads.query / times, most, heads.dim, heads.kv_cache_dtype, heads.window_tokens)
        return _at_more_sequences(self._attention("generation_attention", "context", fewer), times)

    def most_decode_kv_heads(self, heads: Heads) -> int:
        """Largest number of KV heads that decode attention of this kind was measured with."""
        return max((kv for _, kv in self._heads("generation_attention", heads)), default=heads.kv)

    def latent_prefill_s(self, heads: int, kv_cache_dtype: str) -> pd.DataFrame:
        """Seconds of the latent attention kernel, prompt tokens × sequences, without its projections."""
        return self._latent("context_mla", "isl", heads, kv_cache_dtype)

    @property
    def latent_prefill_kernel(self) -> str:
        """Name of the kernel that latent attention of prompts was measured with; several with commas."""
        return ", ".join(sorted(map(str, self._data("context_mla").kernel_source.unique())))

    def latent_decode_s(self, heads: int, kv_cache_dtype: str) -> pd.DataFrame:
        """The same of decode steps, context tokens × sequences."""
        return self._latent("generation_mla", "context", heads, kv_cache_dtype)

    def latent_products_s(self, heads: int, dtype: str) -> Curve:
        """(sequences, seconds) of the two batched products around latent attention in decode steps."""
        wanted = {"num_heads": heads, "bmm_dtype": dtype}
        table = self._pivot("mla_bmm", "num_tokens", ["op_name"], wanted)
        if table.shape[1] != 2:
            raise InputError(f"{self.root}: batched products of {heads} heads in {dtype} were not measured")
        return _curve(table.sum(axis=1, skipna=False))

    def all_reduce_s(self, gpus: int) -> Curve:
        """(elements, seconds) of the engine's all-reduce inside a CUDA graph."""
        wanted = {"allreduce_dtype": "bfloat16", "backend": f"{self.kernels.backend}_graph"}
        table = self._pivot("custom_allreduce", "message_size", ["num_gpus"], wanted)
        if gpus not in table.columns:
            raise InputError(
                f"{self.root}: no all-reduce over {gpus} GPUs{nearest(str(gpus), map(str, table.columns))}"
            )
        return _curve(table[gpus])

    def gathered_and_scattered_s(self, gpus: int) -> Curve:
        """(elements of all GPUs, seconds) of gathering them on each, and of adding up and scattering as many: NCCL."""
        wanted = {"nccl_dtype": "half", "num_gpus": gpus}
        table = self._pivot("nccl", "message_size", ["op_name"], wanted)
        ways = ["all_gather", "reduce_scatter"]
        if not set(ways) <= set(table.columns):
            raise InputError(f"{self.root}: all_gather and reduce_scatter over {gpus} GPUs were not measured")
        return _curve(table[ways].sum(axis=1, skipna=False))

    def _latent(self, operator: str, rows: str, heads: int, kv_cache_dtype: str) -> pd.DataFrame:
        wanted = {"num_heads": heads, "kv_cache_dtype": kv_cache_dtype}
        table = self._pivot(operator, rows, ["batch_size"], wanted)
        if table.empty:
            raise InputError(f"{self.root}: {operator} with {heads} heads and {kv_cache_dtype} was not measured")
        return table

    def _attention(self, operator: str, rows: str, heads: Heads) -> pd.DataFrame:
        """Linear between the measured numbers of query heads around `heads`."""
        measured = sorted(h for h, kv in self._heads(operator, heads) if kv == heads.kv)
        if not measured or not measured[0] <= heads.query <= measured[-1]:
            window = f", a window of {heads.window_tokens}" if heads.window_tokens else ""
            raise InputError(
                f"{self.root}: {operator} with {heads.query:g} heads, {heads.kv} KV heads of {heads.dim}, "
                f"{heads.kv_cache_dtype} KV cache{window} was not measured ({self.kernels})"
            )
        low, high, at = (heads.query, heads.query, 0.0) if heads.query in measured else _around(measured, heads.query)
        table = self._pivot(operator, rows, ["num_heads", "num_key_value_heads", "batch_size"], heads.rows)
        if low == high:
            return _columns(table, low, heads.kv)
        return _columns(table, low, heads.kv) * (1 - at) + _columns(table, high, heads.kv) * at

    def _heads(self, operator: str, heads: Heads) -> set[tuple[int, int]]:
        data = _where(self._data(operator), heads.rows)
        return set(zip(data.num_heads.tolist(), data.num_key_value_heads.tolist(), strict=True))

    def _pivot(self, operator: str, rows: str, columns: list[str], wanted: Mapping[str, Any]) -> pd.DataFrame:
        """Medians in seconds of what `wanted` says, rows × columns."""
        key = f"{operator} by {columns} of {wanted}"
        if key not in self._tables:
            data = _where(self._data(operator), wanted)
            table = data.pivot_table(index=rows, columns=columns or None, values="latency", aggfunc="median")
            self._tables[key] = 1e-3 * table
        return self._tables[key]

    def _data(self, operator: str) -> pd.DataFrame:
        if operator not in self._files:
            kernels = {"gemm": str(self.gemm_kernels), "nccl": "nccl/*"}.get(operator, str(self.kernels))
            found = sorted(self.root.glob(f"*/{kernels}/{operator}_perf.parquet"))
            if len(found) != 1:
                raise InputError(
                    f"{self.root}: {len(found) or 'no'} {operator}_perf.parquet of {kernels}, expected one"
                )
            data = _where(pd.read_parquet(found[0]), {"attn_dtype": "bfloat16", "mla_dtype": "bfloat16"})
            self._files[operator] = data.assign(context=data.isl + data.step) if "step" in data else data
        return self._files[operator]

    def _all_kernels(self) -> list[Kernels]:
        folders = {path.parent for path in self.root.glob("*/*/*/gemm_perf.parquet")}
        return sorted((Kernels(path.parent.name, path.name) for path in folders), key=str)

    def _only_kernels(self) -> Kernels:
        there = self._all_kernels()
        if not there:
            raise InputError(f"{self.root}: no gemm_perf.parquet")
        if len(there) > 1:
            raise InputError(f"{self.root}: operators of {', '.join(map(str, there))}; say which")
        return there[0]


def _curve(time_s: pd.Series[float]) -> Curve:
    time_s = time_s.dropna()
    return np.asarray(time_s.index, np.float64), np.asarray(time_s, np.float64)


def _where(data: pd.DataFrame, wanted: Mapping[str, Any]) -> pd.DataFrame:
    """Rows that say this, in those of the columns that there are."""
    for column, value in wanted.items():
        if column in data:
            data = data[data[column] == value]
    return data


def _columns(table: pd.DataFrame, heads: float, kv_heads: int) -> pd.DataFrame:
    """Rows × batch sizes of these heads."""
    columns = table.columns
    wanted = (columns.get_level_values(0) == heads) & (columns.get_level_values(1) == kv_heads)
    return table.loc[:, wanted].droplevel([0, 1], axis="columns")


def _at_more_sequences(table: pd.DataFrame, times: float) -> pd.DataFrame:
    """The table read at so many times its numbers of sequences, as far as they were measured."""
    found = pd.DataFrame(index=table.index, columns=table.columns, dtype=float)
    at = times * table.columns.to_numpy(np.float64)
    for context, row in table.iterrows():
        known = row.dropna()
        found.loc[context] = np.interp(at, known.index.to_numpy(np.float64), known, right=np.nan)
    return found.dropna(axis="columns", how="all")


def _around(measured: pd.Index | list[int], x: float) -> tuple[int, int, float]:
    """Neighbours of x and x's place between them, from 0 to 1."""
    known = np.sort(np.asarray(measured))
    x = min(max(x, known[0]), known[-1])
    j = min(max(int(known.searchsorted(x, side="right")), 1), len(known) - 1)
    low, high = int(known[j - 1]), int(known[j])
    return low, high, float((x - low) / (high - low))


def _folders(ops_dir: Path) -> list[str]:
    return [path.name for path in ops_dir.glob("*") if path.is_dir()]
