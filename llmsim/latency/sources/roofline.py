"""Data sheet and architecture alone, for any GPU and model (`latency.roofline`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field

from llmsim.latency.contract import LatencyModel, LatencySource
from llmsim.latency.data_parallel import of_data_sheet
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Model
from llmsim.latency.roofline import Efficiencies, efficiencies_of

PLAUSIBLE = Efficiencies()
Share = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class FromRoofline(LatencySource):
    """What operators reach of the data sheet's peaks."""

    #: share of the peak FLOP/s that matrix products reach; left out: what was measured of the GPU, or 0.7
    matmul_flop: Share | None = None
    attention_flop: Share = PLAUSIBLE.attention_flop  #: share of the peak FLOP/s that attention reaches
    memory: Share = PLAUSIBLE.memory  #: share of the peak memory bandwidth
    interconnect: Share = PLAUSIBLE.interconnect  #: share of the peak bandwidth between GPUs
    launch_s: Seconds = PLAUSIBLE.launch_s  #: least time of each operator
    all_reduce_s: Seconds = PLAUSIBLE.all_reduce_s  #: time of each all-reduce before its first byte

    def for_instance(self, gpu: Gpu, model: Model, tensor_parallel_size: int) -> LatencyModel:
        """Compute the bounds; InputError if the GPUs cannot share the model."""
        shares = asdict(self) | {"matmul_flop": self.matmul_flop or efficiencies_of(gpu).matmul_flop}
        return of_data_sheet(gpu, model, tensor_parallel_size, Efficiencies(**shares))
