"""Measured operator latencies of one GPU: aiconfigurator's Parquet tables, as curves against their size.

Medians in bf16, but for matrix products, which may be asked for in another type. Times in seconds, per operator call;
one attention call is one layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmsim.errors import InputError, nearest

Floats = NDArray[np.float64]


class Operators:
    """The tables below ``<ops_dir>/<folder>``, each read on first use."""

    def __init__(self, ops_dir: Path | str, folder: str) -> None:
        self.root = Path(ops_dir) / folder
        if not self.root.is_dir():
            raise InputError(f"{ops_dir}: no operators of '{folder}'{nearest(folder, _folders(Path(ops_dir)))}")
        self._tables: dict[str, pd.DataFrame] = {}

    @property
    def version(self) -> str:
        """Version of vLLM whose kernels were measured."""
        return self._file("gemm").parent.name

    @property
    def most_decode_kv_heads(self) -> int:
        """Largest number of KV heads that decode attention was measured with."""
        return max(kv for _, kv in self._heads("generation_attention"))

    def gemm_s(self, n: float, k: float, dtype: str = "bfloat16") -> tuple[Floats, Floats]:
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
        time_s = time_s.dropna() * beyond
        return time_s.index.to_numpy(np.float64), time_s.to_numpy(np.float64)

    def _gemm_table(self, dtype: str) -> pd.DataFrame:
        table = self._table("gemm", "m", ["gemm_dtype", "n", "k"])
        if dtype not in table.columns.get_level_values(0):
            raise InputError(f"{self.root}: matrix products in {dtype} were not measured")
        return table.loc[:, [dtype]].droplevel(0, axis="columns")

    def prefill_attention_s(self, heads: int, kv_heads: int) -> pd.DataFrame:
        """Seconds, prompt tokens × sequences, for prompts without a cached prefix. NaN where not measured."""
        return self._attention("context_attention", "isl", heads, kv_heads)

    def decode_attention_s(self, heads: int, kv_heads: int) -> pd.DataFrame:
        """Seconds, context tokens × sequences. NaN where not measured.

        More KV heads than were measured: in proportion, as the time goes into reading keys and values.
        """
        most = self.most_decode_kv_heads
        if kv_heads > most:
            return self.decode_attention_s(heads, most) * (kv_heads / most)
        return self._attention("generation_attention", "context", heads, kv_heads)

    def all_reduce_s(self, gpus: int) -> tuple[Floats, Floats]:
        """(elements, seconds) of vLLM's custom all-reduce inside a CUDA graph."""
        column = self._table("custom_allreduce", "message_size", ["num_gpus"])
        if gpus not in column.columns:
            raise InputError(f"{self.root}: no all-reduce over {gpus} GPUs{nearest(str(gpus), map(str, column))}")
        time_s = column[gpus].dropna()
        return time_s.index.to_numpy(np.float64), time_s.to_numpy(np.float64)

    def _attention(self, operator: str, rows: str, heads: int, kv_heads: int) -> pd.DataFrame:
        """Linear between the measured numbers of query heads around `heads`."""
        measured = sorted(h for h, kv in self._heads(operator) if kv == kv_heads)
        if not measured or not measured[0] <= heads <= measured[-1]:
            raise InputError(f"{self.root}: {operator} with {heads} heads, {kv_heads} KV heads was not measured")
        low, high, at = (heads, heads, 0.0) if heads in measured else _around(measured, heads)
        table = self._table(operator, rows, ["num_heads", "num_key_value_heads", "batch_size"])
        if low == high:
            return _columns(table, low, kv_heads)
        return _columns(table, low, kv_heads) * (1 - at) + _columns(table, high, kv_heads) * at

    def _heads(self, operator: str) -> set[tuple[int, int]]:
        data = self._data(operator)
        return set(zip(data.num_heads.tolist(), data.num_key_value_heads.tolist(), strict=True))

    def _table(self, operator: str, rows: str, columns: list[str]) -> pd.DataFrame:
        key = f"{operator} by {columns}"
        if key not in self._tables:
            self._tables[key] = 1e-3 * self._data(operator).pivot_table(
                index=rows, columns=columns, values="latency", aggfunc="median"
            )
        return self._tables[key]

    def _data(self, operator: str) -> pd.DataFrame:
        if operator not in self._tables:
            self._tables[operator] = _bf16(pd.read_parquet(self._file(operator)))
        return self._tables[operator]

    def _file(self, operator: str) -> Path:
        found = sorted(self.root.glob(f"*/vllm/*/{operator}_perf.parquet"))
        if not found:
            raise InputError(f"{self.root}: no {operator}_perf.parquet")
        return found[-1]


def _columns(table: pd.DataFrame, heads: int, kv_heads: int) -> pd.DataFrame:
    """Rows × batch sizes of these heads."""
    columns = table.columns
    wanted = (columns.get_level_values(0) == heads) & (columns.get_level_values(1) == kv_heads)
    return table.loc[:, wanted].droplevel([0, 1], axis="columns")


def _bf16(data: pd.DataFrame) -> pd.DataFrame:
    """Keep what a model with bf16 caches, full attention and heads of 128 runs; add the context of decode steps."""
    wanted = {
        "attn_dtype": "bfloat16",
        "kv_cache_dtype": "bfloat16",
        "allreduce_dtype": "bfloat16",
        "backend": "vllm_graph",
        "window_size": 0,
        "head_dim": 128,
    }
    for column, value in wanted.items():
        if column in data:
            data = data[data[column] == value]
    if "step" in data:
        data = data.assign(context=data.isl + data.step)
    return data


def _around(measured: pd.Index | list[int], x: float) -> tuple[int, int, float]:
    """Neighbours of x and x's place between them, from 0 to 1."""
    known = np.sort(np.asarray(measured))
    x = min(max(x, known[0]), known[-1])
    j = min(max(int(known.searchsorted(x, side="right")), 1), len(known) - 1)
    low, high = int(known[j - 1]), int(known[j])
    return low, high, float((x - low) / (high - low))


def _folders(ops_dir: Path) -> list[str]:
    return [path.name for path in ops_dir.glob("*") if path.is_dir()]
