import pytest

from llmsim.errors import InputError
from llmsim.latency import hardware, profile_files
from llmsim.latency.hardware import (
    kv_blocks,
    list_gpus,
    list_models,
    load_gpu,
    load_model,
    overhead_bytes,
    profiles_dir,
)


@pytest.mark.parametrize("name", list_gpus())
def test_gpu_profile_bears_its_file_name(name):
    assert load_gpu(name).name == name


@pytest.mark.parametrize("name", list_models())
def test_model_profile_bears_its_file_name(name):
    assert load_model(name).name == name


def test_wanted_profiles_are_shipped():
    assert {"a100-sxm4-80gb", "h100-sxm-80gb", "h200-sxm", "l40s"} <= set(list_gpus())
    assert {"llama-3.1-8b", "llama-3.1-70b", "qwen2.5-14b", "qwen2-7b", "qwen3-14b", "llama-2-7b"} <= set(list_models())


def test_unknown_gpu_names_the_nearest():
    with pytest.raises(InputError, match=r"no gpu profile named 'h100-sxm-80g'; did you mean 'h100-sxm-80gb'\?"):
        load_gpu("h100-sxm-80g")


@pytest.mark.parametrize("name", ["H100-SXM-80GB", "H100", "h100_sxm", "H100 SXM"])
def test_a_gpu_is_known_by_what_people_call_it(name):
    assert hardware.load_gpu(name).name == "h100-sxm-80gb"


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("h200", "h200-sxm"),
        ("b200", "b200-sxm"),
        ("rtx4090", "rtx4090"),
        ("RTX 4090", "rtx4090"),
        ("A100", "a100-sxm4-80gb"),
    ],
)
def test_short_names_of_gpus(name, gpu):
    assert load_gpu(name).name == gpu


def test_no_two_gpus_share_a_name():
    called = [name for gpu in map(load_gpu, list_gpus()) for name in (gpu.name, *gpu.aliases)]
    assert len(called) == len(set(called))


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/Meta-Llama-3.1-70B", "llama-3.1-70b"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "qwen3-235b-a22b-fp8"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b-fp8"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("google/gemma-3-27b-it", "gemma-3-27b"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "llama-3.1-70b-fp8"),
        ("deepseek-ai/DeepSeek-V3.1-Terminus", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama-3.1-8b"),
    ],
)
def test_a_checkpoint_leads_to_the_profile_of_its_sizes(name, model):
    assert load_model(name).name == model


def test_unknown_model_names_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'llama-3\.1-8b'\?"):
        load_model("llama-3-8b")


def test_profile_from_a_file_of_ones_own(tmp_path):
    text = (profiles_dir() / "gpus" / "l40s.toml").read_text().replace('"l40s"', '"mine"')
    (tmp_path / "mine.toml").write_text(text)

    assert load_gpu(str(tmp_path / "mine.toml")).name == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "memory_bytes",
            "memory_byte",
            r"mine\.toml: (memory_bytes is missing|unknown key memory_byte; did you)",
        ),
        ("price_usd_per_hour = 1.2", "price_usd_per_hour = -1", "price_usd_per_hour = -1, expected greater"),
        (
            "price_usd_per_hour = 1.2",
            'price_usd_per_hour = "x"',
            "price_usd_per_hour = 'x', expected a valid",
        ),
        ('source = "', 'sauce = "', r"unknown key provenance\.sauce; did you mean 'provenance\.source'"),
        ('name = "l40s"', "", r"mine\.toml: name is missing"),
        ("name =", "name", "not TOML"),
    ],
)
def test_bad_profile_is_one_clear_line(tmp_path, old, new, message):
    text = (profiles_dir() / "gpus" / "l40s.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))

    with pytest.raises(InputError, match=message) as caught:
        load_gpu(str(tmp_path / "mine.toml"))
    assert "\n" not in str(caught.value)


def test_keys_that_lack_are_named_all_at_once(tmp_path):
    (tmp_path / "mine.toml").write_text('name = "mine"\nmemory_bytes = 1\n')

    with pytest.raises(InputError, match=r"memory_bandwidth_bytes_per_s, bf16_flop_per_s, .* are missing"):
        load_gpu(str(tmp_path / "mine.toml"))


def test_a_profile_of_ones_own_need_not_say_where_it_is_from(tmp_path):
    text = (profiles_dir() / "gpus" / "l40s.toml").read_text().partition("[provenance]")[0]
    (tmp_path / "mine.toml").write_text(text)

    assert load_gpu(str(tmp_path / "mine.toml")).provenance is None


@pytest.mark.parametrize("kind", ["gpus", "models", "hosts"])
def test_what_is_shipped_says_where_it_is_from(kind):
    load = {"gpus": load_gpu, "models": load_model, "hosts": hardware.load_host}[kind]
    assert all(load(name).provenance.source for name in hardware.names_of(kind))


def test_profiles_lie_in_the_package_once_installed(tmp_path, monkeypatch):
    inside = tmp_path / "llmsim" / "_data" / "hardware_profiles"
    inside.mkdir(parents=True)
    monkeypatch.setattr(profile_files, "__file__", str(tmp_path / "llmsim" / "latency" / "profile_files.py"))

    assert profiles_dir.__wrapped__() == inside  # as a process finds it that has not asked before


def test_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_model(str(tmp_path / "config.json"))
    with pytest.raises(InputError, match="No such file"):
        load_gpu(str(tmp_path / "gpu.toml"))


def test_kv_blocks_are_what_weights_and_activations_leave():
    gpu, model = load_gpu("h100-sxm-80gb"), load_model("llama-3.1-70b")
    block_bytes = 16 * 80 * 2 * (8 // 4) * 128 * 2  # tokens x layers x (K, V) x heads on a GPU x elements x bytes
    left = gpu.memory_bytes * 0.8 - model.weight_bytes / 4 - overhead_bytes(model, 4, 2048)

    blocks = kv_blocks(gpu, model, tensor_parallel_size=4, gpu_memory_utilization=0.8, max_num_batched_tokens=2048)

    assert blocks == int(left // block_bytes)


def test_kv_heads_are_copied_when_there_are_fewer_than_gpus():
    gpu, model = (
        load_gpu("a100-sxm4-80gb"),
        load_model("qwen2-7b").model_copy(update={"num_attention_heads": 32}),
    )

    four = kv_blocks(gpu, model, tensor_parallel_size=4)
    eight = kv_blocks(gpu, model, tensor_parallel_size=8)

    assert 1 < eight / four < 1.1  # more room, but blocks of the same size


def test_model_that_does_not_fit_says_by_how_much():
    with pytest.raises(InputError, match=r"does not fit 1 x h100.*141\.1 GB of weights.*leaves 76\.4 GB"):
        kv_blocks(load_gpu("h100-sxm-80gb"), load_model("llama-3.1-70b"))


@pytest.mark.parametrize("size", [0, 3])
def test_tensor_parallel_size_divides_the_heads(size):
    with pytest.raises(InputError, match=f"tensor_parallel_size = {size}, expected a divisor of the 32"):
        kv_blocks(load_gpu("h100-sxm-80gb"), load_model("llama-3.1-8b"), tensor_parallel_size=size)


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_memory_utilization_is_a_fraction(share):
    with pytest.raises(InputError, match="gpu_memory_utilization"):
        kv_blocks(load_gpu("l40s"), load_model("llama-3.1-8b"), gpu_memory_utilization=share)
