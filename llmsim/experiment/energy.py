"""The energy of a run's GPUs, from its steps: after the run, so that nothing in it depends on power."""

from __future__ import annotations

import numpy as np

from llmsim.experiment.parts import make_model
from llmsim.latency.gpu import Gpu
from llmsim.latency.hardware import Model, load_gpu
from llmsim.latency.power import Power, step_work
from llmsim.metrics.sections.energy import ASSUMED, MEASURED, Energy
from llmsim.metrics.single_steps import SingleSteps
from llmsim.record import Record
from llmsim.scenario import Scenario

J_PER_KWH = 3.6e6


def energy_of(record: Record, scenario: Scenario, output_tokens: int) -> Energy | None:
    """Add up; None where a GPU's power is not known, and where instances come and go."""
    if not Energy.applies(scenario) or not record.end_s:
        return None
    gpus = [load_gpu(cluster.gpu) for _, cluster in scenario.pools]
    first, joules, count = 0, 0.0, 0
    for pool, (gpu, (_, cluster)) in enumerate(zip(gpus, scenario.pools, strict=True)):
        numbers = range(first, first + cluster.instances)
        joules += _joules(record, gpu, make_model(scenario, pool), numbers, cluster.gpus_per_instance)
        count += cluster.instances * cluster.gpus_per_instance
        first += cluster.instances
    each_token = joules / output_tokens if output_tokens else None
    price = None if scenario.energy is None else scenario.energy.usd_per_kwh
    kwh = joules / J_PER_KWH
    basis = ASSUMED if any(gpu.power is not None and gpu.power.assumed for gpu in gpus) else MEASURED
    return Energy(kwh, joules / (count * record.end_s), each_token, None if price is None else kwh * price, basis)


def _joules(record: Record, gpu: Gpu, model: Model, instances: range, gpus_each: int) -> float:
    """Joules of these instances: of each step by itself, and of the time between steps."""
    assert isinstance(gpu.power, Power)
    power, joules = gpu.power, 0.0
    for number in instances:
        busy_s = 0.0
        for steps in SingleSteps.blocks(record, number):
            lasts_s, decoding = steps.lasts_s(), steps.decoding.astype(np.float64)
            moved, flop = step_work(
                model, steps.prefill_tokens + decoding, decoding, steps.context_tokens.astype(float)
            )
            each_s = lasts_s * gpus_each
            shares = moved / each_s / gpu.memory_bandwidth_bytes_per_s, flop / each_s / gpu.bf16_flop_per_s
            joules += float((power.drawn_w(*shares) * lasts_s).sum())
            busy_s += float(lasts_s.sum())
        joules += power.idle_w * (record.end_s - busy_s)
    return gpus_each * joules
