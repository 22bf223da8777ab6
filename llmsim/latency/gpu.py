"""What a GPU is, in numbers: its data sheet."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmsim.latency.power import Power
from llmsim.latency.profile_files import Amount, Count, Profile, Provenance


class Gpu(Profile):
    """One GPU, from its data sheet. Peak rates are dense; efficiencies belong to the latency models."""

    name: str
    memory_bytes: Count  #: what CUDA reports as total, not what the label says
    memory_bandwidth_bytes_per_s: Amount
    bf16_flop_per_s: Amount
    fp8_flop_per_s: Amount | None = None  #: left out: the GPU computes in bf16, whatever the weights' type
    #: share of these that large matrix products reach, where it was measured; left out: that of the roofline
    matmul_efficiency: Annotated[float, Field(gt=0, le=1)] | None = None
    interconnect_bytes_per_s: Amount  #: between GPUs of one node, one direction
    price_usd_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    power: Power | None = None  #: left out: energy is not told
    #: CUDA's; from 9.0 on FlashAttention 3 runs. Left out: unknown, or no NVIDIA GPU
    compute_capability: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    operator_tables: str | None = None  #: folder of measured operators in aiconfigurator's data
    aliases: tuple[str, ...] = ()  #: other names that it is called by
    provenance: Provenance | None = None
