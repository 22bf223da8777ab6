"""What is known of a model on a GPU, and the tables of both."""

import json

import pytest

from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.latency.hardware import kv_blocks, list_gpus, list_models, load_gpu, load_model
from llmsim.latency.support import all_found
from llmsim.scenario import load_scenario


def said(capsys, *arguments):
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, " ".join((captured.out or captured.err).split())


def test_it_fits_or_not_and_rests_on(capsys):
    code, out = said(capsys, "support", "deepseek-ai/DeepSeek-R1", "H200")

    assert code == 0
    assert "deepseek-r1 on h200-sxm: 671.0 billion parameters, 37.6 active; fp8_block weights" in out
    assert "4 169.1 GB does not fit 8 85.1 GB 672,192 composed" in out
    assert "SGLang 0.5.9: median error" in out


def test_json_says_the_same(capsys):
    assert main(["support", "qwen3-30b-a3b", "h100", "--tp", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    blocks = kv_blocks(load_gpu("h100"), load_model("qwen3-30b-a3b"), null_blocks=1)

    (row,) = found["sizes"]
    assert (row["kv_tokens"], row["step_times"], row["refused"]) == (16 * blocks, "composed", None)
    assert found["active_parameters"] == 3_353_032_704
    assert found["validated"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["llama-3.1-70b", "rtx4090", "--tp", "1"], "does not fit 1 x rtx4090: 141.1 GB of weights"),
        (["gemma-3-27b", "mi300x", "--tp", "1"], "not modelled: images and sounds"),
        (["qwen3-8b", "l4", "--tp", "1"], "roofline (cluster.latency"),
        (["llama-3.1-8b", "h100", "--dtype", "fp8", "--tp", "1"], "llama-3.1-8b-fp8 on h100-sxm-80gb: 8.0 billion"),
        (["llama-3.1-8b", "h100", "--dtype", "int4", "--tp", "1"], "int4 weights and bf16 KV cache"),
        (["llama-3.1-8b", "h100", "--kv-cache-dtype", "fp8", "--tp", "1"], "bf16 weights and fp8 KV cache, 64 KiB"),
        (["qwen3-235b-a22b-fp8", "h100", "--tp", "1", "--dp", "8"], "8 ranks of attention in lockstep, evenly loaded"),
        (["llama-3.1-70b-fp8", "h100", "--tp", "2", "--pp", "2"], "2 pipeline stages with even batches: less certain"),
        (["qwen3-235b-a22b-fp8", "h100", "--tp", "8"], "experts dealt out to 8 GPUs, evenly loaded: less certain"),
    ],
)
def test_what_a_deployment_is_told(arguments, words, capsys):
    code, out = said(capsys, "support", *arguments)
    assert code == 0
    assert words in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["llama-9", "h100"], "no model profile named 'llama-9'"),
        (["llama-3.1-8b", "h1000"], "no gpu profile named 'h1000'; did you mean"),
        (["llama-3.1-8b", "h100", "--pp", "33"], "pipeline_parallel_size = 33, expected at most the 32 layers"),
        (["deepseek-r1", "h200", "--dp", "8", "--pp", "2"], "--dp and --pp together are not modelled"),
        (["llama-3.1-8b", "h100", "--tp", "3"], "tensor_parallel_size = 3, expected a divisor of the 32"),
        (["llama-3.1-8b", "h100", "--dtype", "fp9"], "dtype = 'fp9'; did you mean 'fp8'"),
        (["llama-3.1-8b", "h100", "--kv-cache-dtype", "int4"], "kv_cache_dtype = 'int4'"),
    ],
)
def test_bad_input_is_one_line(arguments, words, capsys):
    code, out = said(capsys, "support", *arguments)
    assert code == 2
    assert words in out


def test_errors_found_are_of_models_and_gpus_that_there_are():
    for found in all_found():
        assert found.gpu in list_gpus()
        assert found.model in list_models()


def test_lists_have_columns(capsys):
    _, models = said(capsys, "list", "models")
    _, gpus = said(capsys, "list", "gpus")

    assert "deepseek-v3 671.0 37.6 fp8_block 69 B200 H200" in models
    assert "mi300x" in gpus


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("NVIDIA-H100-80GB-HBM3", "h100-sxm-80gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("AMD Instinct MI300X", "mi300x"),
        ("NVIDIA_H200", "h200-sxm"),
    ],
)
def test_gpus_are_found_by_the_names_that_drivers_print(name, gpu):
    assert load_gpu(name).name == gpu


def test_the_beginning_of_a_name_leads_to_its_shortest_end():
    with pytest.raises(InputError, match="did you mean 'qwen3-235b-a22b'"):
        load_model("qwen3-235b")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("cluster.ep=8", "did you mean 'expert_parallel_size'"),
        ("cluster.pp=2", "did you mean 'pipeline_parallel_size'"),
        ("cluster.dtype=fp8", "the type of the weights is the model's"),
        ("cluster.quantization=fp8", "the type of the weights is the model's"),
    ],
)
def test_what_people_type_is_told_what_is_meant(key, message):
    with pytest.raises(InputError, match=message):
        load_scenario("quickstart", [key])
