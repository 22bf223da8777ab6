"""Measured operators of this GPU and model, where they are shipped (`latency.table`)."""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.latency.contract import LatencyModel, LatencySource
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Model
from llmsim.latency.profile import profile_of
from llmsim.latency.table import StepTable


@dataclass(frozen=True)
class FromTable(LatencySource):
    """No options: GPU, model and tensor-parallel size name the profile."""

    def for_instance(self, gpu: Gpu, model: Model, tensor_parallel_size: int) -> LatencyModel:
        """Read the profile; InputError where none is shipped."""
        return StepTable(profile_of(gpu, model, tensor_parallel_size))
