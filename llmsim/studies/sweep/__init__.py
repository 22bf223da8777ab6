"""Sweeps: a scenario over axes and seeds, on any executor, in a folder from which it can go on."""

from __future__ import annotations

from llmsim.studies.executors import dask, in_this_process
from llmsim.studies.sweep.axes import Axis
from llmsim.studies.sweep.sweep_definition import Point, Sweep, command_of, read_sweep
from llmsim.studies.sweep.sweep_folder import CURVES, HEAT_MAPS, SWEEP_FILE, TABLE, Kept, read_kept
from llmsim.studies.sweep.sweep_runs import FinishedSweep, run_sweep

__all__ = [
    "CURVES",
    "HEAT_MAPS",
    "SWEEP_FILE",
    "TABLE",
    "Axis",
    "FinishedSweep",
    "Kept",
    "Point",
    "Sweep",
    "command_of",
    "dask",
    "in_this_process",
    "read_kept",
    "read_sweep",
    "run_sweep",
]
