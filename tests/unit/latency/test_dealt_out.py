"""Experts over the GPUs of an instance, and how tokens are routed to them: taken, or refused by name."""

from __future__ import annotations

import pytest

from llmsim.errors import InputError
from llmsim.experiment.instances import make_instances
from llmsim.latency.hardware import load_gpu, load_model
from llmsim.latency.profile import find_profile, load_profile, read_profile
from llmsim.latency.roofline import Roofline
from llmsim.scenario import load_scenario

MIXTURE = "qwen3-235b-a22b-fp8"
ON_H100 = ("cluster.gpu=h100-sxm-80gb", f"cluster.model={MIXTURE}", "cluster.tensor_parallel_size=8")


def instance(*changes):
    return make_instances(load_scenario("quickstart", [*ON_H100, *changes]))[0]


def test_experts_dealt_out_are_those_of_the_profile_and_left_out_means_whatever_it_has():
    asked, left_out = instance("cluster.expert_parallel_size=8"), instance()

    assert load_profile("h100-sxm-80gb", MIXTURE, 8).expert_parallel_size == 8
    assert asked.latency.basis == left_out.latency.basis
    assert "experts dealt out whole" in asked.latency.basis


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["expert_parallel_size=1"], "a share of each expert on every GPU; there are some dealt out the other way"),
        (["expert_parallel_size=2"], "expected 1 or tensor_parallel_size = 8"),
        (["model=llama-3.1-8b", "expert_parallel_size=8"], "llama-3.1-8b has no experts"),
        (["model=llama-3.1-8b", "routing=power_law_1.2"], "is of mixtures of experts; llama-3.1-8b has none"),
        (["routing=power_law_1.2"], "llmsim profile compose --routing power_law_1.2"),
        (["routing=power_law_1.2", "latency=roofline"], "roofline knows uniform routing alone"),
        (["pipeline_parallel_size=2", "data_parallel_size=8"], "together are not modelled"),
        (["data_parallel_size=2"], "there are some with data_parallel_size = 8 and tensor_parallel_size = 1"),
        (["model=llama-3.1-8b", "data_parallel_size=2"], "instances = 2 are as many engines of their own"),
    ],
)
def test_what_cannot_take_effect_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        instance(*(f"cluster.{change}" for change in changes))


def test_a_model_that_is_not_there_is_the_models_fault():
    with pytest.raises(InputError, match=r"^command line: cluster.model: no\.toml"):
        instance("cluster.model=no.toml")


def test_shared_experts_and_dealt_out_ones_read_as_much_from_each_gpu():
    """Evenly loaded: each GPU reads the awake experts' share of all weights, whichever way they lie."""
    gpu, model = load_gpu("h200-sxm"), load_model(MIXTURE)
    shared, dealt_out = (Roofline(gpu, model.over(4, size), 4) for size in (1, 4))

    assert shared.step_time_s((), 16, 16_000) == dealt_out.step_time_s((), 16, 16_000)


def test_a_skewed_profile_is_not_taken_for_a_uniform_one(tmp_path, monkeypatch):
    gpu, model = load_gpu("h200-sxm"), load_model(MIXTURE)
    skewed = model.with_routing("power_law_1.2")
    shipped = read_profile(find_profile(gpu, model, 4))
    file = tmp_path / "steps" / gpu.name / "mine-tp4.json"
    file.parent.mkdir(parents=True)
    file.write_text(shipped.model_copy(update={"architecture": skewed.architecture}).model_dump_json())
    monkeypatch.setattr("llmsim.latency.profile.profiles_dir", lambda: tmp_path)

    assert find_profile(gpu, skewed, 4) == file
    with pytest.raises(InputError, match=r"there are some with .* power_law_1.2 routing"):
        find_profile(gpu, model, 4)
