"""Sweeps: a scenario over axes and seeds, on any executor, in a folder from which it can go on."""

from __future__ import annotations

from llmsim.sweeping.axes import Axis
from llmsim.sweeping.definition import Point, Sweep, in_words, read_sweep
from llmsim.sweeping.executors import dask, in_this_process
from llmsim.sweeping.run import Swept, run_sweep
from llmsim.sweeping.store import CURVES, HEAT_MAPS, MARK, TABLE, Kept, read_kept

__all__ = [
    "CURVES",
    "HEAT_MAPS",
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
    "read_kept",
    "read_sweep",
    "run_sweep",
]
