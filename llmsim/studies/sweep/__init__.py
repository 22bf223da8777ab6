"""Sweeps: a scenario over axes and seeds, on any executor, in a folder from which it can go on."""

from __future__ import annotations

from llmsim.studies.sweep.axes import Axis
from llmsim.studies.sweep.definition import Point, Sweep, read_sweep
from llmsim.studies.sweep.executors import dask, in_this_process
from llmsim.studies.sweep.run import Swept, run_sweep
from llmsim.studies.sweep.store import CURVES, HEAT_MAPS, MARK, TABLE, Kept, read_kept

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
    "read_kept",
    "read_sweep",
    "run_sweep",
]
