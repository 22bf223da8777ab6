"""The latency model that a scenario names."""

from __future__ import annotations

from llmsim.errors import InputError, nearest
from llmsim.latency.contract import LatencyModel
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Model
from llmsim.latency.profile import profile_of
from llmsim.latency.roofline import Roofline
from llmsim.latency.table import Table

KINDS = ("table", "roofline")


def build_latency(kind: str, gpu: Gpu, model: Model, tensor_parallel_size: int = 1) -> LatencyModel:
    """Build "table" (measured steps, where shipped) or "roofline" (any GPU and model).

    Raises InputError for another kind, and where no measured steps are shipped.
    """
    if kind == "table":
        return Table(profile_of(gpu, model, tensor_parallel_size))
    if kind == "roofline":
        return Roofline(gpu, model, tensor_parallel_size)
    raise InputError(f"latency = '{kind}'{nearest(kind, KINDS)}")
