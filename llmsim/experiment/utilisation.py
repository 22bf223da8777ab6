"""How much of what instances have is in use: seats, memory, token budget, bandwidth and FLOP/s, from their steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmsim.cluster import InstanceSpec
from llmsim.experiment.parts import make_model
from llmsim.latency.gpu import Gpu
from llmsim.latency.hardware import load_gpu
from llmsim.latency.model import Model
from llmsim.latency.power import step_work
from llmsim.metrics.sections.utilisation import Utilisation
from llmsim.metrics.single_steps import SingleSteps
from llmsim.record import Record
from llmsim.scenario import Scenario

#: in the order of the fields of `Utilisation`; NaN where an instance has no such limit, or it is not known
Shares = tuple[float, float, float, float, float, float]


def utilisation_of(record: Record, scenario: Scenario, specs: Sequence[InstanceSpec]) -> Utilisation | None:
    """Measure; None where all requests arrive at once, or instances come and go."""
    arrival_s = record.requests["arrival_s"]
    start_s, stop_s = float(arrival_s.min()), float(arrival_s.max())
    if not Utilisation.applies(scenario) or stop_s <= start_s:
        return None
    gpus = [load_gpu(cluster.gpu) for _, cluster in scenario.pools]
    # sequences that speculate read more than once
    models = [None if scenario.speculates else make_model(scenario, pool) for pool in range(len(gpus))]
    of = [pool for pool, (_, cluster) in enumerate(scenario.pools) for _ in range(cluster.instances)]
    shares = [
        _shares(SingleSteps.of(record, number), spec, gpus[pool], models[pool], start_s, stop_s)
        for number, (spec, pool) in enumerate(zip(specs, of, strict=True))
    ]
    means = np.array(shares).sum(axis=0) / len(shares)
    busy, seats, kv_tokens, batch_tokens, bandwidth, flop = (None if np.isnan(mean) else float(mean) for mean in means)
    assert busy is not None
    return Utilisation(busy, seats, kv_tokens, batch_tokens, bandwidth, flop)


def _shares(
    steps: SingleSteps, spec: InstanceSpec, gpu: Gpu, model: Model | None, start_s: float, stop_s: float
) -> Shares:
    """Shares of one instance between two times."""
    span_s, lasts_s = stop_s - start_s, steps.lasts_s(start_s, stop_s)
    within = lasts_s / span_s

    def share(used: np.ndarray, limit: float | None) -> float:
        return float((within * used).sum()) / limit if limit else np.nan

    decoding = steps.decoding.astype(float)
    busy, seats = float(lasts_s.sum()) / span_s, share(decoding, spec.scheduler.most_running)
    if model is None:
        return busy, seats, np.nan, np.nan, np.nan, np.nan
    tokens, context = steps.prefill_tokens + decoding, steps.context_tokens.astype(float)
    moved, flop = (work / steps.lasts_s() for work in step_work(model, tokens, decoding, context))
    return (
        busy,
        seats,
        share(context, spec.num_gpu_blocks * spec.block_tokens),
        share(tokens, getattr(spec.scheduler, "max_num_batched_tokens", None)),
        share(moved, spec.gpus * gpu.memory_bandwidth_bytes_per_s),
        share(flop, spec.gpus * gpu.bf16_flop_per_s),
    )
