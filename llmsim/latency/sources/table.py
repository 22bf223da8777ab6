"""Step times composed of measured operators: shipped for this GPU and model, or of one's own (`latency.table`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmsim.errors import InputError
from llmsim.latency.contract import LatencyModel, LatencySource
from llmsim.latency.data_parallel import of_profile
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Model
from llmsim.latency.profile import other_sizes, profile_of, read_profile


@dataclass(frozen=True)
class FromTable(LatencySource):
    """The profile of this GPU, model and tensor-parallel size that is shipped, or a file."""

    #: JSON of `llmsim profile compose`; left out, what is shipped for GPU, model and tensor_parallel_size
    profile: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, if there is one."""
        return () if self.profile is None else (Path(self.profile),)

    def for_instance(self, gpu: Gpu, model: Model, tensor_parallel_size: int) -> LatencyModel:
        """Read the profile; InputError where none is shipped, and for a file of another GPU, model or size."""
        if self.profile is None:
            return of_profile(profile_of(gpu, model, tensor_parallel_size))
        own = read_profile(self.profile)
        given, asked = (own.gpu, own.tensor_parallel_size), (gpu.name, tensor_parallel_size)
        if given != asked:
            raise InputError(f"{self.profile}: of {given[0]} TP{given[1]}, expected {asked[0]} TP{asked[1]}")
        dealt_out = None if model.experts is None else model.experts.dealt_out
        if dealt_out not in (None, own.expert_parallel_size > 1):
            raise InputError(
                f"{self.profile}: expert_parallel_size = {own.expert_parallel_size}, unlike the scenario's"
            )
        if differs := other_sizes(own.architecture, model):
            raise InputError(f"{self.profile}: of another model than {model.name}: {differs}")
        return of_profile(own)
