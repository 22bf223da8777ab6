"""Fit step times to measured steps: relative least squares, coefficients not negative, error by cross-validation.

The form is `Fitted`'s: prefill = a + b sum(T) + c sum(T²), decode = a + b sum(context) + c sequences (Zhong et al.,
OSDI 2024). One row of the CSV is one measured step, with the columns of `COLUMNS`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmsim.errors import InputError, nearest
from llmsim.latency.fitted import Coefficients, Fitted
from llmsim.reading import read_text

Floats = NDArray[np.float64]

COLUMNS = {
    "prefills": "prompts in the step",
    "prefill_tokens": "tokens computed of all these prompts together",
    "decoding": "sequences that decode one token",
    "context_tokens": "sum of their contexts, the token being computed included",
    "step_s": "seconds that the step took",
}
#: sum over the prompts of (c + n)² - c² for n tokens after c computed ones; left out: whole prompts of equal length
SQUARES = "prefill_squared_tokens"
FOLDS = 5


@dataclass(frozen=True, slots=True)
class FitError:
    """Absolute relative errors, in percent, on steps that the coefficients had not seen."""

    kind: str  #: "prefill", "decode", or "mixed": the last take no part in any fit
    steps: int
    median_percent: float
    p90_percent: float


@dataclass(frozen=True, eq=False)
class StepFit:
    """Fitted step times, and how far off they are."""

    latency: Fitted
    errors: tuple[FitError, ...]

    def errors_by_kind(self) -> dict[str, dict[str, float]]:
        """Values for JSON."""
        return {
            e.kind: {"steps": e.steps, "median_percent": e.median_percent, "p90_percent": e.p90_percent}
            for e in self.errors
        }

    def write(self, path: Path, model: str, tensor_parallel_size: int, source: str) -> None:
        """Write what `Fitted.from_distserve` reads (coefficients in ms), with its error and source."""
        fitted = self.latency
        entry = {
            "prefill": _ms(fitted.prefill),
            "decoding_smallbs": _ms(fitted.decode_small),
            "decoding_largebs": _ms(fitted.decode_large),
            "decoding_large_small_bs_threshold": fitted.large_batch,
            "cross_validated_error": self.errors_by_kind(),
            "source": source,
        }
        values = {model: {str(tensor_parallel_size): entry}}
        path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def fit_steps(path: Path | str, large_batch: int | None = None) -> StepFit:
    """Fit the measured steps of a CSV file; decode from `large_batch` sequences on gets its own coefficients.

    Raises InputError with file, line and column for what is missing or not a number, and if there are too few steps.
    """
    steps = read_steps(path)
    prefilling, decoding = steps.prefills.to_numpy() > 0, steps.decoding.to_numpy() > 0
    time_s = steps.step_s.to_numpy()
    prompt_terms = _terms(steps.prefill_tokens, steps[SQUARES])
    decode_terms = _terms(steps.context_tokens, steps.decoding)
    large = steps.decoding.to_numpy() >= (large_batch if large_batch is not None else np.inf)
    pure = {
        "prefill": (prompt_terms, prefilling & ~decoding),
        "decode": (decode_terms, decoding & ~prefilling & ~large),
        "decode, large batch": (decode_terms, decoding & ~prefilling & large),
    }
    if large_batch is None:
        del pure["decode, large batch"]
    found, errors = {}, []
    for kind, (terms, rows) in pure.items():
        if rows.sum() < FOLDS:
            raise InputError(f"{path}: {rows.sum()} steps of {kind} alone, expected at least {FOLDS}")
        found[kind] = _fit(terms[rows], time_s[rows])
        errors.append(_error(kind, _held_out(terms[rows], time_s[rows])))
    small = found["decode"]
    latency = Fitted(
        found["prefill"], small, found.get("decode, large batch", small), large_batch or int(steps.decoding.max()) + 1
    )
    mixed = prefilling & decoding
    if mixed.any():
        once_s = np.where(large, min(latency.prefill[0], latency.decode_large[0]), min(latency.prefill[0], small[0]))
        part_s = np.where(large, decode_terms @ latency.decode_large, decode_terms @ small)
        errors.append(_error("mixed", ((prompt_terms @ latency.prefill + part_s - once_s) / time_s - 1)[mixed]))
    return StepFit(latency, tuple(errors))


def read_steps(path: Path | str) -> pd.DataFrame:
    """Read measured steps, `COLUMNS` and `SQUARES`. InputError names what is wrong, with its line."""
    try:
        table = pd.read_csv(io.StringIO(read_text(Path(path))), comment="#")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not CSV ({str(error).splitlines()[0]})") from None
    for name, meaning in COLUMNS.items():
        if name not in table:
            raise InputError(f"{path}: no column '{name}' ({meaning}){nearest(name, table.columns)}")
    for name in (*COLUMNS, *({SQUARES} & set(table))):
        _check_column(path, name, pd.to_numeric(table[name], errors="coerce"), table[name])
    table = table.astype(dict.fromkeys(COLUMNS, float))
    empty = (table.prefills == 0) & (table.decoding == 0)
    _refuse(path, empty, "a step without prefill and decode")
    _refuse(
        path, (table.prefills == 0) != (table.prefill_tokens == 0), "prefills without prefill_tokens, or these alone"
    )
    if SQUARES not in table:
        table[SQUARES] = table.prefill_tokens**2 / table.prefills.clip(lower=1)
    return table


def _check_column(path: Path | str, name: str, numbers: pd.Series[Any], given: pd.Series[Any]) -> None:
    least = "above 0" if name == "step_s" else "not negative"
    bad = ~np.isfinite(numbers) | (numbers < 0) | ((numbers == 0) & (name == "step_s"))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise InputError(f"{path}: step {at + 1}: {name} = {given.iloc[at]}, expected a number, {least}")


def _refuse(path: Path | str, rows: pd.Series[bool], what: str) -> None:
    if rows.any():
        raise InputError(f"{path}: step {int(np.flatnonzero(rows)[0]) + 1}: {what}")


def _ms(coefficients: Coefficients) -> list[float]:
    return [1e3 * value for value in coefficients]


def _terms(first: pd.Series[float], second: pd.Series[float]) -> Floats:
    return np.column_stack([np.ones(len(first)), first, second])


def _fit(terms: Floats, time_s: Floats) -> Coefficients:
    """Least squares of the relative error; no coefficient below zero (the best of all subsets that allow it)."""
    scaled = terms / time_s[:, None]
    best, least = np.zeros(3), np.inf
    for size in (1, 2, 3):
        for used in combinations(range(3), size):
            values = np.linalg.lstsq(scaled[:, used], np.ones(len(time_s)), rcond=None)[0]
            square = float(((scaled[:, used] @ values - 1) ** 2).sum())
            if (values >= 0).all() and square < least:
                best, least = np.zeros(3), square
                best[list(used)] = values
    return float(best[0]), float(best[1]), float(best[2])


def _held_out(terms: Floats, time_s: Floats) -> Floats:
    """Relative errors, each step predicted from the four fifths that it is not in; every fifth step is left out."""
    errors = np.empty(len(time_s))
    for fold in range(FOLDS):
        out = np.arange(len(time_s)) % FOLDS == fold
        errors[out] = terms[out] @ _fit(terms[~out], time_s[~out]) / time_s[out] - 1
    return errors


def _error(kind: str, errors: Sequence[float] | Floats) -> FitError:
    median, p90 = np.percentile(100 * np.abs(errors), [50, 90])
    return FitError(kind, len(errors), float(median), float(p90))
