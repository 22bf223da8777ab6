"""How much of what instances have is in use: seats, memory, token budget, bandwidth and FLOP/s, from their steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

import numpy as np

from llmsim.cluster import InstanceSpec
from llmsim.experiment.parts import make_model
from llmsim.latency.gpu import Gpu
from llmsim.latency.hardware import load_gpu
from llmsim.latency.model import Model
from llmsim.latency.power import step_work
from llmsim.metrics.sections.utilisation import Utilisation
from llmsim.metrics.single_steps import SingleSteps
from llmsim.record import Floats, Record
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
        _shares(SingleSteps.blocks(record, number), spec, gpus[pool], models[pool], start_s, stop_s)
        for number, (spec, pool) in enumerate(zip(specs, of, strict=True))
    ]
    means = np.array(shares).sum(axis=0) / len(shares)
    busy, seats, kv_tokens, batch_tokens, bandwidth, flop = (None if np.isnan(mean) else float(mean) for mean in means)
    assert busy is not None
    return Utilisation(busy, seats, kv_tokens, batch_tokens, bandwidth, flop)


def _shares(
    blocks: Iterable[SingleSteps], spec: InstanceSpec, gpu: Gpu, model: Model | None, start_s: float, stop_s: float
) -> Shares:
    """Shares of one instance between two times."""
    span_s, used = stop_s - start_s, np.zeros(len(fields(Utilisation)))
    for steps in blocks:
        used += _used(steps, model, start_s, stop_s)
    scheduler = spec.scheduler
    limits = (
        1.0,
        scheduler.most_running,
        spec.num_gpu_blocks * spec.block_tokens,
        getattr(scheduler, "max_num_batched_tokens", None),
        spec.gpus * gpu.memory_bandwidth_bytes_per_s,
        spec.gpus * gpu.bf16_flop_per_s,
    )
    shares = [float(each) / span_s / limit if limit else np.nan for each, limit in zip(used, limits, strict=True)]
    return (shares[0], shares[1], shares[2], shares[3], shares[4], shares[5])


def _used(steps: SingleSteps, model: Model | None, start_s: float, stop_s: float) -> Floats:
    """What steps use between two times, summed over time: in the order of the fields of `Utilisation`."""
    lasts_s, decoding = steps.lasts_s(start_s, stop_s), steps.decoding.astype(float)
    busy = [lasts_s.sum(), (lasts_s * decoding).sum()]
    if model is None:
        return np.array([*busy, *[np.nan] * 4])
    tokens, context = steps.prefill_tokens + decoding, steps.context_tokens.astype(float)
    work = step_work(model, tokens, decoding, context)
    whole_s = steps.lasts_s()
    within = np.divide(lasts_s, whole_s, out=np.zeros_like(lasts_s), where=whole_s > 0)
    return np.array(
        [*busy, (lasts_s * context).sum(), (lasts_s * tokens).sum(), *((within * one).sum() for one in work)]
    )
