"""Energy: a vector by hand, and what ML.ENERGY measured of models and batches."""

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.experiment import run
from llmsim.latency.hardware import load_gpu, load_model, profiles_dir
from llmsim.latency.host import Host
from llmsim.latency.power import Power, step_work
from llmsim.latency.profile import load_profile
from llmsim.latency.table import StepTable
from llmsim.metrics.sections.energy import Energy
from llmsim.scenario import load_scenario

H100 = load_gpu("h100")


def test_a_hundred_steps_and_a_second_of_idling(tmp_path):
    # 100 steps of 10 ms at 500 W and 1 s idle at 100 W: 600 J; power that does not depend on the step is 500 W flat
    text = (profiles_dir() / "gpus/h100-sxm-80gb.toml").read_text()
    flat = "power = { idle_w = 100, bytes_w = 1e9, flop_w = 0, max_w = 500 }\n"
    text = "".join(line if not line.startswith("power") else flat for line in text.splitlines(keepends=True))
    (tmp_path / "flat.toml").write_text(text)
    lengths = "workload.lengths={source='fixed', prompt_tokens=10, output_tokens=50}"
    arrivals = "workload.arrivals={process='constant', rate_per_s=0.6666666666666666}"
    step = "cluster.latency={name='constant', step_s=0.01}"
    changes = [lengths, arrivals, step, "workload.requests=2", f"cluster.gpu={tmp_path / 'flat.toml'}"]
    result = run(load_scenario("quickstart", changes))

    energy, end_s = result.score.section(Energy), result.record.end_s
    assert result.record.steps["steps"].sum() == 100
    assert energy.kwh * 3.6e6 == pytest.approx(100 * 0.010 * 500 + (end_s - 1.0) * 100)
    assert energy.j_per_output_token == pytest.approx(energy.kwh * 3.6e6 / 100)
    assert energy.mean_w_per_gpu == pytest.approx(energy.kwh * 3.6e6 / end_s)


def test_power_is_idle_at_rest_and_never_above_the_limit():
    power = Power(idle_w=100, bytes_w=300, flop_w=1000, max_w=700)
    shares = np.array([0.0, 0.25, 1.0])
    assert power.drawn_w(shares, np.zeros(3)).tolist() == [100, 250, 400]
    assert power.drawn_w(np.zeros(3), shares).tolist() == [100, 600, 700]


def test_a_decode_step_reads_weights_and_caches_once():
    model, one = load_model("llama-3.1-8b"), np.array([1.0])
    moved, flop = step_work(model, one, one, np.array([1000.0]))
    weights = 2 * (8_030_261_248 - 128_256 * 4096 - 65 * 4096)  # the embedding is looked up; norms are left out

    assert moved[0] == pytest.approx(weights + 1000 * 131_072)
    assert flop[0] == pytest.approx(weights + 32 * 4 * 4096 * 1000)
    mixture = load_model("qwen3-30b-a3b")
    moved, _ = step_work(mixture, one, one, np.array([0.0]))
    routers_norms = mixture.router_parameters + 97 * 2048 + mixture.other_parameters
    assert moved[0] == pytest.approx(2 * (mixture.active_parameters - 151_936 * 2048 - routers_norms), rel=1e-6)


def j_per_token(name, gpus, batch, context=700):
    table = StepTable(load_profile("h100-sxm-80gb", name, gpus))
    lasts_s = Host(table, 0.000707, 0.0000159).step_time_s((), batch, batch * context)
    n = np.array([float(batch)])
    moved, flop = step_work(load_model(name), n, n, n * context)
    each_s = lasts_s * gpus
    shares = moved / each_s / H100.memory_bandwidth_bytes_per_s, flop / each_s / H100.bf16_flop_per_s
    return gpus * lasts_s * float(H100.power.drawn_w(*shares)[0]) / batch


def test_energy_of_a_token_falls_with_the_batch():
    # measured: .455 J at 8, .077 at 256 (llama-3.1-8b on an H100): 5.9 times
    assert j_per_token("llama-3.1-8b", 1, 8) / j_per_token("llama-3.1-8b", 1, 256) > 5


def test_a_mixture_needs_less_than_a_dense_model_of_its_size_and_least_so_at_medium_batch():
    # measured on 2 x H100 at 8, 64, 256: .823 .272 .133 J against 1.627 .367 .228
    ratio = {n: j_per_token("qwen3-30b-a3b", 2, n) / j_per_token("qwen3-32b", 2, n) for n in (8, 64, 256)}
    assert max(ratio.values()) < 1
    assert ratio[64] == max(ratio.values())


def test_a_gpu_whose_power_is_not_known_tells_no_energy():
    result = run(load_scenario("quickstart", ["workload.requests=5", "cluster.gpu=a100"]))
    assert result.score.find(Energy) is None


@pytest.mark.parametrize(("gpu", "limit_w"), [("a100-sxm4-80gb", 400), ("h200-sxm", 700), ("l40s", 350)])
def test_assumed_power_has_the_h100s_proportions_and_is_told_when_asked(gpu, limit_w):
    power = load_gpu(gpu).power
    assert power.max_w == limit_w
    for key in ("idle_w", "bytes_w", "flop_w"):
        assert getattr(power, key) / limit_w == pytest.approx(getattr(H100.power, key) / 700, abs=0.002)
    changes = [f"cluster.gpu={gpu}", "workload.requests=20"]

    assert run(load_scenario("quickstart", changes)).score.find(Energy) is None
    energy = run(load_scenario("quickstart", [*changes, "energy.usd_per_kwh=0.25"])).score.section(Energy)
    assert energy.usd == pytest.approx(0.25 * energy.kwh)
    assert energy.basis.startswith("assumed")
    assert 100 * limit_w / 700 < energy.mean_w_per_gpu < limit_w


def test_energy_that_is_not_known_is_refused_before_the_run():
    with pytest.raises(InputError, match="energy: the power of l4 is not known"):
        run(load_scenario("quickstart", ["cluster.gpu=l4", "cluster.latency=roofline", "energy.usd_per_kwh=0.1"]))
