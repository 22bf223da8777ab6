"""The step times that a command or a scenario names."""

from __future__ import annotations

import inspect

from llmsim import discovery
from llmsim.errors import InputError
from llmsim.latency.contract import LatencyModel, LatencySource
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Model

SOURCES = "llmsim.latency.sources"


def find_latency(name: str) -> type[LatencySource]:
    """Find a source of step times by its name; InputError with the nearest one if there is none."""
    return discovery.find(SOURCES, name, LatencySource)


def build_latency(name: str, gpu: Gpu, model: Model, tensor_parallel_size: int = 1) -> LatencyModel:
    """Build the step times of a source with its default options, such as "table" or "roofline".

    Raises InputError for an unknown name, for a source that has no defaults, and where it has no such times.
    """
    source = find_latency(name)
    needed = [p.name for p in inspect.signature(source).parameters.values() if p.default is p.empty]
    if needed:
        raise InputError(
            f"latency source '{name}' needs the option '{needed[0]}', in the cluster.latency of a scenario"
        )
    return source().for_instance(gpu, model, tensor_parallel_size)
