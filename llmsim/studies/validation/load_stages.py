"""Measured runs of which only aggregates by stage are known: means and percentiles, as benchmark tools print them.

A CSV has a line a stage: rate_per_s, requests, and such columns as ttft_mean_s, tpot_p50_s, e2e_p99_s. The stages of
a `run` follow one another on the same engine, in order of `stage`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.interop.format import choose, read_runs
from llmsim.interop.measured import MeasuredResult
from llmsim.studies.validation.replay import Floats, Latencies

STATISTIC = re.compile(r"(ttft|tpot|e2e)_(mean|p\d+(?:\.\d+)?)_s")
LOAD = ("rate_per_s", "requests")  #: that every stage says
EXAMPLES = "ttft_mean_s, tpot_mean_s, e2e_p99_s"


@dataclass(frozen=True)
class Stage:
    """So many requests at one rate, and what was measured of them."""

    run: str
    rate_per_s: float
    requests: int
    measured: Mapping[str, float]  #: by names such as ttft_mean_s; seconds
    gpu: str = ""  #: "": not told
    model: str = ""

    @property
    def name(self) -> str:
        """Such as ``h100-8b at 8/s``."""
        return f"{self.run} at {self.rate_per_s:g}/s"

    @property
    def duration_s(self) -> float:
        """How long its requests come."""
        return self.requests / self.rate_per_s


def aggregates(seen: Latencies, columns: Sequence[str]) -> Floats:
    """The statistics of these names (mean, or NumPy's percentile) of simulated requests; seconds."""
    return np.array([_statistic(seen, name) for name in columns])


def _statistic(seen: Latencies, name: str) -> float:
    metric, statistic = split(name)
    values = getattr(seen, f"{metric}_s")
    return float(np.nanmean(values) if statistic == "mean" else np.nanpercentile(values, float(statistic[1:])))


def split(name: str) -> tuple[str, str]:
    """(metric, statistic) of a name: ``("ttft", "p99")``."""
    found = STATISTIC.fullmatch(name)
    assert found is not None, name
    return found[1], found[2]


def said(name: str) -> str:
    """Such as ``mean TTFT`` for ttft_mean_s."""
    metric, statistic = split(name)
    return f"{statistic} {metric.upper()}"


def read_stages(path: Path, columns: Sequence[str] = ()) -> dict[str, list[Stage]]:
    """Read a CSV: run -> its stages, in order. InputError names what is missing, with its line.

    `columns` must be there. Without a column `run` all is one run, called as the file.
    """
    table = _table(path)
    statistics = [str(name) for name in table if STATISTIC.fullmatch(str(name))]
    if lacking := [name for name in (*LOAD, *columns) if name not in table]:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; expected {', '.join((*LOAD, *columns))}")
    if not statistics:
        raise InputError(f"{path}: has no statistics; expected columns such as {EXAMPLES}")
    for name in (*LOAD, *statistics):
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        if (wrong := ~((values > 0) & np.isfinite(values))).any():
            line = int(np.argmax(wrong))
            raise InputError(f"{path}, line {line + 2}: {name} = {table[name].iloc[line]}, expected a number above 0")
    if "run" not in table:
        table["run"] = path.name
    ordered = table.sort_values(["run", "stage"], kind="stable") if "stage" in table else table
    runs: dict[str, list[Stage]] = {}
    for row in ordered.to_dict("records"):
        runs.setdefault(str(row["run"]), []).append(_stage(row, statistics))
    return runs


def is_table_of_stages(path: Path) -> bool:
    """Whether a CSV has stages in place of requests."""
    return path.suffix == ".csv" and LOAD[0] in _table(path)


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not a CSV table ({str(error).splitlines()[0]})") from None


def _stage(row: Mapping[Any, Any], statistics: Sequence[str]) -> Stage:
    return Stage(
        run=str(row["run"]),
        rate_per_s=float(row["rate_per_s"]),
        requests=int(row["requests"]),
        measured={name: float(row[name]) for name in statistics},
        gpu=str(row.get("gpu", "")),
        model=str(row.get("model", "")),
    )


def asked_stages(path: Path, run: int | None, *, several: bool = False) -> list[Stage] | None:
    """Stages of run number `run` (from 1) of a table, or of all runs of a benchmark's file of summaries if `several`.

    None where the file has requests one by one. InputError for what no stage can be made of, and for several runs.
    """
    if path.suffix == ".csv":
        if not is_table_of_stages(path):
            return None
        runs = read_stages(path)
        if len(runs) > 1 and run is None:
            names = ", ".join(f"{i}: {name}" for i, name in enumerate(runs, start=1))
            raise InputError(f"{path}: stages of {len(runs)} runs ({names}); say which: --run 1 to --run {len(runs)}")
        if not 1 <= (run or 1) <= len(runs):
            raise InputError(f"{path}: --run {run}: expected 1 to {len(runs)}")
        return list(runs.values())[(run or 1) - 1]
    results = read_runs(path)
    chosen = results if several or (len(results) == 1 and run is None) else [choose(path, results, run)]
    if (run is None and not several and len(results) > 1) or any(one.timelines is not None for one in chosen):
        return None
    return [printed_stage(path, one) for one in chosen]


def printed_stage(path: Path, result: MeasuredResult) -> Stage:
    """The stage that a benchmark's summary is. InputError where it lacks its rate, its number of requests, or means."""
    rate, requests = result.load.rate_per_s, result.printed.get("requests.finished")
    names = {key: f"{key.replace('_s.', '_')}_s" for key in result.printed}
    found = {name: result.printed[key] for key, name in names.items() if STATISTIC.fullmatch(name)}
    found = {name: value for name, value in found.items() if math.isfinite(value) and value > 0}
    where = str(path) if result.runs == 1 else f"{path}, run {result.run}"
    if rate is None or not math.isfinite(rate):
        wanted = "expected its requests per second, or every request (of vLLM: --save-detailed)"
        raise InputError(f"{where}: {result.source}: a summary without a rate; {wanted}")
    if not requests or not any(split(name)[1] == "mean" for name in found):
        raise InputError(f"{where}: {result.source}: expected the number of requests, and means of TTFT, TPOT or E2E")
    return Stage(path.name, rate, int(requests), found)
