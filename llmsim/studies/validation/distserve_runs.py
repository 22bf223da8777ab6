"""Reads DistServe's published runs: measured/<run>.exp with its workload/<run>.exp."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.studies.validation.replay import Floats, Latencies
from llmsim.workload.contract import Workload

FOLDER = "groundtruth/distserve_opt13b_a100"
CAPACITY = "profiles/distserve/max_num_tokens.csv"


@dataclass(frozen=True, eq=False)
class Run:
    """One measured run, requests in order of arrival."""

    name: str
    rate_per_s: float
    workload: Workload
    measured: Latencies

    def most_kv_tokens(self) -> int:
        """Most tokens in KV memory at once, as the measured times tell: outputs grow evenly from first to last."""
        work, seen = self.workload, self.measured
        first_s, last_s = work.arrival_s + seen.ttft_s, work.arrival_s + seen.e2e_s
        done = (first_s[:, None] - first_s) / np.maximum(last_s - first_s, 1e-9)
        held = np.where((done >= 0) & (done < 1), work.prompt_tokens + 1 + done * (work.output_tokens - 1), 0.0)
        return int(held.sum(axis=1).max())


def read_runs(data_dir: Path, names: tuple[str, ...]) -> list[Run]:
    """Read the named runs, "<system>-<requests>-<rate>". InputError names what is missing or not as expected."""
    return [_read(data_dir / FOLDER, name) for name in names]


def kv_capacity_tokens(data_dir: Path, model: str, tensor_parallel_size: int = 1) -> int:
    """Read how many tokens fit in KV memory of one instance. InputError without file or row."""
    path = data_dir / CAPACITY
    if not path.is_file():
        raise InputError(f"{path}: not found, expected the KV capacities")
    table = pd.read_csv(path)
    row = table[(table.model == model) & (table.tp == tensor_parallel_size) & (table.pp == 1)]
    if len(row) != 1:
        raise InputError(
            f"{path}: expected one row for {model} with tp = {tensor_parallel_size}, pp = 1, found {len(row)}"
        )
    return int(row.max_num_tokens.iloc[0])


def _read(folder: Path, name: str) -> Run:
    path = folder / "measured" / f"{name}.exp"
    lengths, times = ("prompt_len", "output_len"), ("issue_time", "first_token_time", "complete_time")
    asked = _columns(folder / "workload" / f"{name}.exp", json.loads, ("start_time", *lengths))
    got = _columns(path, _first_line, (*times, *lengths))
    if any(not np.array_equal(asked[key], got[key]) for key in lengths):
        raise InputError(f"{path}: its requests are not those of workload/{name}.exp")
    prompts, outputs = (asked[key].astype(np.int64) for key in lengths)
    issued_s, first_s, last_s = (got[key] for key in times)
    return Run(
        name=name,
        rate_per_s=float(name.rpartition("-")[2]),
        workload=Workload(asked["start_time"], prompts, outputs, name),
        measured=Latencies.of(first_s - issued_s, last_s - issued_s, outputs),
    )


def _first_line(text: str) -> Any:
    """Parse a Python literal, which is no JSON; a summary follows it."""
    return ast.literal_eval(text.partition("\n")[0])


def _columns(path: Path, parse: Callable[[str], Any], keys: tuple[str, ...]) -> dict[str, Floats]:
    """Read a list of requests as columns, sorted by the first of them."""
    try:
        rows = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, SyntaxError) as error:
        raise InputError(f"{path}: not a list of requests ({str(error).splitlines()[0]})") from None
    try:
        columns = {key: np.array([row[key] for row in rows], dtype=np.float64) for key in keys}
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: expected a list of requests, each with the numbers {', '.join(keys)}") from None
    order = np.argsort(columns[keys[0]], kind="stable")
    return {key: column[order] for key, column in columns.items()}
