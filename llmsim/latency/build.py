"""The latency model that a scenario names."""

from __future__ import annotations

from llmsim.errors import InputError, nearest
from llmsim.latency.contract import LatencyModel
from llmsim.latency.hardware import Gpu, Model
from llmsim.latency.profile import load_profile
from llmsim.latency.roofline import Roofline
from llmsim.latency.table import Table

KINDS = ("table", "roofline")


def build_latency(kind: str, gpu: Gpu, model: Model, tensor_parallel_size: int = 1) -> LatencyModel:
    """Build "table" (measured steps, where shipped) or "roofline" (any GPU and model).

    Raises InputError for another kind, and where no measured steps are shipped.
    """
    if kind == "table":
        return Table(load_profile(gpu.name, model.name, tensor_parallel_size))
    if kind == "roofline":
        return Roofline(gpu, model, tensor_parallel_size)
    raise InputError(f"latency = '{kind}'{nearest(kind, KINDS)}")
