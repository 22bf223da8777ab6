"""Measured runs of which only aggregates by stage are known: means and percentiles, as benchmark tools print them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llmsim.errors import InputError
from llmsim.studies.validation.replay import Floats, Latencies

#: what a stage may have of its requests: column -> metric and percentile; None: the mean
AGGREGATES: dict[str, tuple[str, int | None]] = {
    "ttft_mean_s": ("ttft_s", None),
    "ttft_p90_s": ("ttft_s", 90),
    "ttft_p99_s": ("ttft_s", 99),
    "tpot_mean_s": ("tpot_s", None),
    "e2e_mean_s": ("e2e_s", None),
    "e2e_p90_s": ("e2e_s", 90),
    "e2e_p99_s": ("e2e_s", 99),
}
NUMBERS = ("rate_per_s", "duration_s", "requests", *AGGREGATES)
COLUMNS = ("run", "gpu", "model", "stage", *NUMBERS)


@dataclass(frozen=True)
class Stage:
    """So many requests at one rate, and what was measured of them, in order of `AGGREGATES`; seconds."""

    run: str
    gpu: str
    model: str
    number: int
    rate_per_s: float
    duration_s: float
    requests: int
    measured: tuple[float, ...]

    @property
    def name(self) -> str:
        """Such as ``h100-8b at 8/s``."""
        return f"{self.run} at {self.rate_per_s:g}/s"


def aggregates(seen: Latencies) -> Floats:
    """What `AGGREGATES` names, of simulated requests; seconds."""
    return np.array(
        [
            np.nanmean(values) if q is None else np.nanpercentile(values, q)
            for values, q in ((getattr(seen, metric), q) for metric, q in AGGREGATES.values())
        ]
    )


def read_stages(path: Path) -> dict[str, list[Stage]]:
    """Read a CSV with `COLUMNS`: run -> its stages, in order. InputError names what is missing, with its line."""
    try:
        table = pd.read_csv(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not a CSV table ({str(error).splitlines()[0]})") from None
    if lacking := [name for name in COLUMNS if name not in table]:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; expected {', '.join(COLUMNS)}")
    for name in NUMBERS:
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        if (wrong := ~(values > 0)).any():
            line = int(np.argmax(wrong))
            raise InputError(f"{path}, line {line + 2}: {name} = {table[name].iloc[line]}, expected a number above 0")
    runs: dict[str, list[Stage]] = {}
    for row in table.sort_values(["run", "stage"], kind="stable").to_dict("records"):
        runs.setdefault(str(row["run"]), []).append(
            Stage(
                run=str(row["run"]),
                gpu=str(row["gpu"]),
                model=str(row["model"]),
                number=int(row["stage"]),
                rate_per_s=float(row["rate_per_s"]),
                duration_s=float(row["duration_s"]),
                requests=int(row["requests"]),
                measured=tuple(float(row[name]) for name in AGGREGATES),
            )
        )
    return runs
