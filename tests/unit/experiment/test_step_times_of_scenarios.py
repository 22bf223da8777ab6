"""What a scenario says of its model, its memory and its step times takes effect, or is refused."""

import json

import pytest

from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.experiment import assemble, run
from llmsim.latency.hardware import kv_blocks, load_gpu, load_model
from llmsim.latency.profile import load_profile, profile_path, write_profile
from llmsim.metrics.sections.choices import Choices
from llmsim.scenario import load_scenario

FEW = ["workload.requests=20", "cluster.gpu=h100"]


def instance(*changes):
    return assemble(load_scenario("quickstart", [*FEW, *changes])).instances[0]


def test_blocks_are_those_that_the_token_budget_leaves():
    gpu, model = load_gpu("h100"), load_model("llama-3.1-8b")
    for budget in (512, 8192):
        blocks = instance(f"scheduler.max_num_batched_tokens={budget}").num_gpu_blocks
        assert blocks == kv_blocks(gpu, model, max_num_batched_tokens=budget, null_blocks=1)


def test_a_policy_without_a_budget_sets_memory_aside_for_that_of_large_gpus():
    gpu, model = load_gpu("h100"), load_model("llama-3.1-8b")
    assert instance("scheduler={name='fcfs'}").num_gpu_blocks == kv_blocks(gpu, model, max_num_batched_tokens=8192)


def test_a_cache_in_fp8_has_twice_the_blocks_and_other_step_times():
    whole, half = (
        instance("cluster.latency=roofline"),
        instance("cluster.latency=roofline", "cluster.kv_cache_dtype=fp8"),
    )

    assert half.num_gpu_blocks == pytest.approx(2 * whole.num_gpu_blocks, abs=1)
    per_token = [
        one.latency.step_time_s((), 8, 80_000) - one.latency.step_time_s((), 8, 40_000) for one in (whole, half)
    ]
    assert per_token[1] == pytest.approx(per_token[0] / 2)
    with pytest.raises(InputError, match="fp8 KV cache; there are some with"):
        instance("cluster.kv_cache_dtype=fp8")


def test_weights_in_fp8_take_step_times_of_fp8(tmp_path):
    bf16, fp8 = instance(), instance("cluster.model=llama-3.1-8b-fp8")

    assert fp8.num_gpu_blocks > bf16.num_gpu_blocks
    assert fp8.latency.step_time_s((), 1, 100) < 0.75 * bf16.latency.step_time_s((), 1, 100)
    with pytest.raises(InputError, match="fp8 weights and bf16 KV cache; there are some with bf16 weights"):
        instance("cluster.model=llama-3.1-8b-fp8", "cluster.gpu=l40s")


def test_a_composed_profile_serves_a_scenario(tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(profile_path("h100-sxm-80gb", "llama-3.1-8b", 1).read_bytes())

    own = instance(f"cluster.latency={{name='table', profile='{path}'}}")
    assert own.latency.profile == instance().latency.profile


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["cluster.gpu=h200"], "of h100-sxm-80gb TP1, expected h200-sxm TP1"),
        (["cluster.tensor_parallel_size=2"], "of h100-sxm-80gb TP1, expected h100-sxm-80gb TP2"),
        (["cluster.model=qwen3-8b"], "of another model than qwen3-8b: num_hidden_layers = 32, expected 36"),
        (["cluster.kv_cache_dtype=fp8"], "kv_cache_dtype = bfloat16, expected fp8"),
    ],
)
def test_a_composed_profile_of_something_else_is_refused(tmp_path, changes, message):
    path = tmp_path / "mine.json"
    write_profile(load_profile("h100-sxm-80gb", "llama-3.1-8b"), path)
    with pytest.raises(InputError, match=message):
        instance(f"cluster.latency={{name='table', profile='{path}'}}", *changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([], "composed of operators (vLLM 0.19.0 kernels; GPU time only), llama-3.1-8b on h100-sxm-80gb TP1"),
        (["host.step_s=0.001"], "composed of operators (vLLM 0.19.0 kernels"),
        (
            ["cluster.latency=roofline"],
            "roofline: data sheet of h100-sxm-80gb and sizes of llama-3.1-8b, nothing measured",
        ),
        (["cluster.latency={name='constant', step_s=0.01}"], "Constant, as given"),
        (
            ["cluster.latency=roofline", "cluster.model=gemma-3-12b"],
            "roofline: data sheet of h100-sxm-80gb and sizes of gemma-3-12b, nothing measured; not modelled: images",
        ),
    ],
)
def test_a_result_says_what_it_rests_on(changes, words):
    score = run(load_scenario("quickstart", [*FEW, *changes])).score
    assert score.section(Choices).step_times.startswith(words)


def test_run_prints_what_it_rests_on(tmp_path, capsys):
    changes = [part for change in FEW for part in ("--set", change)]
    assert main(["run", "quickstart", *changes, "--out", str(tmp_path / "out")]) == 0
    assert "step times composed of operators (vLLM 0.19.0 kernels" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("key", ["tp", "tensor_parallel"])
def test_a_key_by_another_name_is_hinted_at(key, capsys):
    assert main(["run", "quickstart", "--set", f"cluster.{key}=2"]) == 2
    assert f"cluster.{key}: unknown key; did you mean 'tensor_parallel_size'?" in capsys.readouterr().err


def test_names_as_people_type_them_make_a_sweep_too(tmp_path, capsys):
    arguments = [
        "--set",
        "workload.requests=20",
        "--set",
        "cluster.gpu=H100",
        "--axis",
        "cluster.instances=1,2",
        "--jobs",
        "1",
    ]
    model = ["--set", "cluster.model=meta-llama/Llama-3.1-8B-Instruct"]
    code = main(["sweep", "quickstart", *arguments, *model, "--out", str(tmp_path / "s"), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert json.loads(said.out)


def test_a_plan_leaves_out_what_cannot_serve_the_model_and_says_why(capsys):
    asked = ["plan.gpus=['h100','b200']", "plan.tensor_parallel_sizes=[2]", "plan.find='load'", "plan.most_seeds=2"]
    few = ["workload.requests=50", "plan.most_requests=150", "plan.least_seeds=2"]
    changes = [part for change in asked + few for part in ("--set", change)]
    model = ["--set", "cluster.model=Qwen/Qwen3-235B-A22B-FP8"]
    assert main(["plan", "plan_h100", *model, *changes, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)

    (left_out,) = planned["left_out"]
    assert left_out.startswith("h100-sxm-80gb TP2: qwen3-235b-a22b-fp8 does not fit 2 x h100-sxm-80gb: 118.2 GB")
    (candidate,) = planned["candidates"]
    assert candidate["step_times"].endswith("qwen3-235b-a22b-fp8 on b200-sxm TP2")


def test_a_plan_without_any_candidate_is_an_error(capsys):
    changes = ["--set", "plan.gpus=['l4','a10g']", "--set", "cluster.model=deepseek-r1"]
    assert main(["plan", "plan_h100", *changes, "--json"]) == 2
    assert "does not fit 1 x a10g" in capsys.readouterr().err
