"""The clock of a trace: which unit its times have, and from when they count."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.trace_format import Clock
from llmsim.workload.trace_layout import Layout

DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_SUFFIX = re.compile(r"_(s|ms|us|ns|sec|secs|seconds|millis|milliseconds|micros|microseconds|nanos|nanoseconds)$")
#: seconds since 1970 from which on a time is one of a calendar: 2001; a trace does not run for 31 years
_EPOCH_S = 1e9
_LATEST_S = 1e10  # 2286
_FEW = 10  # with fewer requests, a burst is as likely as a wrong unit
_ASK_PER_S, _SAY_PER_S = 100.0, 500.0


@dataclass(frozen=True, slots=True)
class TraceClock:
    """Unit of a file's times."""

    unit: Clock
    epoch: bool  #: whether times count from 1970, so that they are shifted to the earliest
    inferred: str = ""  #: how the unit was found, if the format does not say it

    @property
    def shifts(self) -> bool:
        """Whether the earliest request is time 0, whatever its time in the file."""
        return self.epoch or self.unit == "date"

    def seconds(self, raw: NDArray[Any], base: float) -> NDArray[np.float64]:
        """Return times in seconds, from `base` (in the file's unit; 0 where the clock does not shift) on."""
        if self.unit == "date":
            return np.asarray((raw - base) / 1e9)
        since = raw - base if base else raw
        return np.asarray(since / PER_SECOND[self.unit]) if self.unit != "s" else np.asarray(since)


def clock_of(layout: Layout, first: object, where: str) -> TraceClock:
    """Tell the clock by the layout and the first row's time of arrival; InputError where it may be one of two."""
    times = layout.times
    if (times.clock == "date" and times.known) or (not times.stated and _is_date(first)):
        return TraceClock("date", epoch=False)
    value = _number(first)
    said = times.clock if times.known else _by_name(layout.arrival)
    since_1970 = next((unit for unit in PER_SECOND if _EPOCH_S <= value / PER_SECOND[unit] < _LATEST_S), None)
    if times.stated or since_1970 in (None, said):
        unit: Clock = said or "s"
        note = "" if times.known else _taken(layout.arrival, unit, named=bool(said))
        return TraceClock(unit, epoch=_EPOCH_S <= value / PER_SECOND[unit] < _LATEST_S, inferred=note)
    if said == "ms" and since_1970 == "s":
        raise InputError(
            f"{where}: {layout.arrival} is {first}: seconds since 1970, or {value / 8.64e7:.0f} days in milliseconds? "
            'say workload.time_unit = "s" or "ms"'
        )
    assert since_1970 is not None
    return TraceClock(since_1970, epoch=True, inferred=f"{layout.arrival} in {UNIT_NAMES[since_1970]} by its size")  # type: ignore[arg-type]


def _taken(column: str, unit: str, *, named: bool) -> str:
    why = "by its name" if named else "; workload.time_unit says otherwise"
    return f"{column} taken as {UNIT_NAMES[unit]} {why}".replace(" ;", ";")


def _by_name(column: str) -> Clock | None:
    found = _SUFFIX.search(column.lower())
    if found is None:
        return None
    letters = found[1]
    return "s" if letters.startswith("s") else {"mil": "ms", "mic": "us", "nan": "ns"}.get(letters[:3], letters)  # type: ignore[return-value]


def _is_date(value: object) -> bool:
    return isinstance(value, str) and DATE.fullmatch(value.strip()) is not None


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return math.nan


def nanoseconds(dates: Any) -> NDArray[np.int64]:
    """Return dates, as text in an Arrow array, in nanoseconds since 1970; without a zone they are UTC.

    Raises ValueError or ArrowInvalid if one is none.
    """
    for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):  # all with a zone, or none
        try:
            return np.asarray(pc.cast(dates, kind).cast(pa.int64()).to_numpy())
        except pa.ArrowInvalid:
            continue
    parsed = pd.to_datetime(dates.to_pandas(), format="ISO8601", utc=True).dt.tz_localize(None)
    if parsed.isna().any():
        raise ValueError("not a date")
    return np.asarray(parsed.to_numpy().astype("datetime64[ns]").astype(np.int64))


def check_milliseconds(layout: Layout, clock: TraceClock, arrival_s: NDArray[np.float64], where: str) -> str:
    """Say or ask whether times that a format has in milliseconds are seconds, which is a thousand times the load.

    Returns a note for the workload's source, or "". Raises InputError if the times, sorted or not, have fractions of a
    millisecond and come at more than a hundred a second, as those of a trace in seconds do.
    """
    span_s = float(np.ptp(arrival_s)) if len(arrival_s) > 1 else 0.0
    if clock.unit != "ms" or layout.times.stated or span_s == 0:
        return ""
    per_s = (len(arrival_s) - 1) / span_s
    in_ms = arrival_s * 1e3
    fractions = bool((np.abs(in_ms - np.round(in_ms)) > 1e-6).any())
    if fractions and per_s >= _ASK_PER_S:
        raise InputError(
            f"{where}: {layout.arrival} has fractions of a millisecond, and {len(arrival_s)} requests in "
            f'{span_s:.3g} s ({per_s:.4g}/s); are these seconds? say workload.time_unit = "s" or "ms" '
            "(llmsim trace: --time-unit)"
        )
    if fractions or (per_s >= _SAY_PER_S and len(arrival_s) >= _FEW):
        return f"{layout.arrival} taken as milliseconds ({per_s:.4g} requests/s; workload.time_unit says otherwise)"
    return ""


def check_epoch(layout: Layout, clock: TraceClock, base: float, where: str) -> None:
    """Raise InputError if the first row's time is since 1970 and another row's cannot be."""
    if clock.epoch and base / PER_SECOND[clock.unit] < _EPOCH_S:
        raise InputError(
            f"{where}: {layout.arrival} is {base:g} in one row, and {UNIT_NAMES[clock.unit]} since 1970 in the first; "
            "expected one clock for all rows"
        )


def shift_note(clock: TraceClock, base: float) -> str:
    """Say from when the times of a calendar count."""
    if not clock.epoch or not base / PER_SECOND[clock.unit] < _LATEST_S:
        return ""
    when = datetime.fromtimestamp(base / PER_SECOND[clock.unit], UTC)
    return f"times from {when:%Y-%m-%d %H:%M:%S} UTC"
