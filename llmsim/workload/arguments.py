"""Checks of the numbers that a user gives for a workload: each returns its value or raises InputError."""

from __future__ import annotations

import math

from llmsim.errors import InputError


def positive(name: str, value: float) -> float:
    """Demand a finite number above 0."""
    if not _finite(value) or value <= 0:
        raise InputError(f"{name} = {value!r}: expected a finite number above 0")
    return value


def not_negative(name: str, value: float) -> float:
    """Demand a finite number of at least 0."""
    if not _finite(value) or value < 0:
        raise InputError(f"{name} = {value!r}: expected a finite number of at least 0")
    return value


def whole(name: str, value: int, *, least: int = 1) -> int:
    """Demand a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} = {value!r}: expected a whole number of at least {least}")
    return value


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
