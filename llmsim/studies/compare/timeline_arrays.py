"""Timelines as named arrays and back, as they are kept on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.record import DrawnPaces, Paces, Timelines
from llmsim.step_ends import StepEnds

#: what a field may be in place of an array: its own fields are named ``field.kind.own``
PARTS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Paces, DrawnPaces, StepEnds)}


def to_arrays(times: Timelines) -> dict[str, NDArray[Any]]:
    """Return every array by name, numbers as arrays of no dimension."""
    found: dict[str, NDArray[Any]] = {}
    for field in fields(times):
        value, kind = getattr(times, field.name), type(getattr(times, field.name)).__name__
        if kind in PARTS:
            own = {f"{field.name}.{kind}.{one.name}": getattr(value, one.name) for one in fields(value)}
            found |= {name: np.asarray(part) for name, part in own.items()}
        elif value is not None:
            found[field.name] = np.asarray(value)
    return found


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Timelines:
    """Make timelines of what `to_arrays` gave; KeyError or TypeError for anything else. Other arrays may be there."""
    names = [field.name for field in fields(Timelines)]
    values = {name: _plain(arrays[name]) for name in names if name in arrays}
    parts: dict[tuple[str, str], dict[str, Any]] = {}
    for name, array in arrays.items():
        field, _, own = name.partition(".")
        if own:
            kind, _, own = own.partition(".")
            parts.setdefault((field, kind), {})[own] = _plain(array)
    return Timelines(**values, **{field: PARTS[kind](**own) for (field, kind), own in parts.items()})


def _plain(array: NDArray[Any]) -> Any:
    return array if array.ndim else array.item()
