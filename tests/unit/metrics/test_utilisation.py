from __future__ import annotations

from dataclasses import fields

import pytest

from llmsim import experiment
from llmsim.experiment.utilisation import _shares
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.power import step_work
from llmsim.metrics.sections.utilisation import Utilisation
from llmsim.metrics.single_steps import SingleSteps
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, serve_both_ways, workload


def test_shares_by_hand() -> None:
    """A prompt of 20 tokens and three more tokens, a second each, within 10 s; contexts of 21, 22, 23."""
    from llmsim.cluster import InstanceSpec

    scheduler = ChunkedPrefill(max_num_batched_tokens=100, max_num_seqs=8)
    spec = InstanceSpec(scheduler, LinearSteps(1.0, 0.0), num_gpu_blocks=10, max_model_len=1000, gpus=2)
    gpu, model = load_gpu("h100-sxm-80gb"), load_model("llama-3.1-8b")
    for record in serve_both_ways(workload((0.0, 20, 4), (10.0, 20, 4)), scheduler, latency=spec.latency):
        (steps,) = SingleSteps.blocks(record, 0)
        found = dict(
            zip(
                (field.name for field in fields(Utilisation)),
                _shares([steps], spec, gpu, model, 0.0, 10.0),
                strict=True,
            )
        )

        assert found["busy"] == pytest.approx(0.4)
        assert found["seats"] == pytest.approx(0.3 / 8)
        assert found["kv_tokens"] == pytest.approx((21 + 22 + 23) / 10 / (10 * 16))
        assert found["batch_tokens"] == pytest.approx((20 + 3) / 10 / 100)
        work = [step_work(model, *map(float, step)) for step in ((20, 0, 0), (1, 1, 21), (1, 1, 22), (1, 1, 23))]
        assert found["bandwidth"] == pytest.approx(sum(b for b, _ in work) / 10 / 2 / gpu.memory_bandwidth_bytes_per_s)
        assert found["flop"] == pytest.approx(sum(f for _, f in work) / 10 / 2 / gpu.bf16_flop_per_s)


def test_a_cluster_that_idles_half_the_time_is_half_in_use() -> None:
    alone, beside = (
        experiment.run(load_scenario("quickstart", ["workload.requests=30", f"cluster.instances={n}"])).score
        for n in (1, 3)
    )
    used, spread = alone.section(Utilisation), beside.section(Utilisation)

    assert used.seats is not None
    assert 0 < used.seats < used.busy <= 1
    assert spread.batch_tokens == pytest.approx(
        used.batch_tokens / 3, rel=0.15
    )  # the same tokens on three, but for the end


def test_what_is_not_known_is_left_open() -> None:
    changes = ["workload.requests=20", "autoscaling={target=3.0, max_instances=2, cold_start_s=1.0}"]
    assert experiment.run(load_scenario("quickstart", changes)).score.find(Utilisation) is None
    one = load_scenario("quickstart", ["workload.requests=1"])
    assert experiment.run(one).score.find(Utilisation) is None
