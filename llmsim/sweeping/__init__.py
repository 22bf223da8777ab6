"""Sweeps: a scenario over axes and seeds, on any executor, in a folder from which it can go on."""

from __future__ import annotations

from llmsim.sweeping.axes import Axis
from llmsim.sweeping.definition import Point, Sweep, read_sweep
from llmsim.sweeping.executors import dask, in_this_process
from llmsim.sweeping.run import Swept, run_sweep
from llmsim.sweeping.store import CURVES, HEAT_MAPS, MARK, TABLE, Kept, read_kept
from llmsim.sweeping.words import LINE, in_words, narrow

__all__ = [
    "CURVES",
    "HEAT_MAPS",
    "LINE",
    "MARK",
    "TABLE",
    "Axis",
    "Kept",
    "Point",
    "Sweep",
    "Swept",
    "dask",
    "in_this_process",
    "in_words",
    "narrow",
    "read_kept",
    "read_sweep",
    "run_sweep",
]
