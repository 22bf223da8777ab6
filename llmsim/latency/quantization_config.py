"""Reads quantization_config of a Hugging Face config.json: the type of the weights, and what it leaves alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from llmsim.errors import InputError
from llmsim.latency.model import Part, Quantization

#: words in the names of modules that belong to a part
MODULES: dict[Part, str] = {
    "attention": r"self_attn|attention|attn",
    "mlp": r"shared_expert|mlp\.(gate|up|down)_proj|mlp(?!\.)|feed_forward(?!\.)",
    "experts": r"(?<!shared_)experts",
}
NO_MATRIX = re.compile(r"router|(mlp|feed_forward|block_sparse_moe)\.(shared_expert_)?gate($|[^_])|norm|lm_head|embed")
#: keys that name modules which stay as they are
LEFT_ALONE = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules")
READ = (
    *("quant_method", "weight_block_size", "bits", "w_bit", "group_size", "q_group_size", "sym", "config_groups"),
    *("quant_algo", "kv_cache_quant_algo", "kv_cache_scheme", "dynamic", *LEFT_ALONE),
)
#: how weights were quantized, and by which kernels and tools they are read: nothing about their number of bits
NO_EFFECT = re.compile(
    r"activation_scheme|activation_scale_ub|(scale_)?fmt|(checkpoint_)?format|quantization_status|version|zero_point|"
    r"global_compression_ratio|desc_act|static_groups|true_sequential|damp_.*|model_name_or_path|model_file_base_name|"
    r"model_seqlen|quantizer|meta|is_marlin_format|pack_dtype|producer|tokenizer|dataset|batch_size|backend|do_fuse|"
    r"fuse_max_seq_len|(use_)?exllama.*|use_cuda_fp16|max_input_length|cache_block_outputs|block_name_to_quantize|"
    r"module_name_preceding_first_block|pad_token_id|mse|act_group_aware|scale_dtype"
)
BF16_BITS, SCALE_BITS = 16, 16
FP8_BITS, INT4_BITS, MXFP4_BITS = 8, 4, 4.25  # mxfp4: 8 bits of scale for 32 weights


def read_quantization(config: Mapping[str, Any], layers: int, where: str) -> Quantization:
    """Understand a quantization_config, or refuse it with its key. `layers`: of the model."""
    method = config.get("quant_method")
    readers = {
        "fp8": _fp8,
        "fbgemm_fp8": _fp8,
        "mxfp4": _mxfp4,
        "awq": _int4,
        "gptq": _int4,
        "compressed-tensors": _compressed_tensors,
        "modelopt": _modelopt,
    }
    if method not in readers:
        raise InputError(f"{where}.quant_method = {method!r}, expected one of {', '.join(readers)}")
    for key, value in config.items():
        if value not in (None, False, 0, "", [], {}) and key not in READ and not NO_EFFECT.fullmatch(key):
            raise InputError(f"{where}.{key} = {value!r} is not understood; expected none of it, or a .toml profile")
    dtype, bits = readers[method](config, where)
    ignored = [name for key in LEFT_ALONE for name in config.get(key) or ()] + _skipped(config, where)
    parts: tuple[Part, ...] = ("experts",) if method == "mxfp4" else ("attention", "mlp", "experts")
    kept = tuple(part for part in parts if not _left_alone(part, ignored, layers))
    return Quantization.model_validate({"dtype": dtype, "bits": bits, "parts": kept})


def _skipped(config: Mapping[str, Any], where: str) -> list[str]:
    """Modules that GPTQ's `dynamic` leaves alone: those after a minus. InputError for others, which have other bits."""
    rules = config.get("dynamic")
    rules = rules if isinstance(rules, Mapping) else {}  # fp8 says with true that activations are scaled as they come
    for rule in rules:
        if not rule.startswith("-:"):
            raise InputError(f"{where}.dynamic has '{rule}': bits of its own; expected '-:' rules, which leave modules")
    return [rule.removeprefix("-:") for rule in rules]


def read_kv_cache(config: Mapping[str, Any], where: str) -> str | None:
    """The type that the checkpoint's keys and values were scaled for, which engines take unless told otherwise.

    None: it says nothing of them.
    """
    algorithm, scheme = config.get("kv_cache_quant_algo"), config.get("kv_cache_scheme")
    if algorithm not in (None, "FP8"):
        raise InputError(f"{where}.kv_cache_quant_algo = {algorithm!r}, expected 'FP8' or none")
    if scheme:
        kind = (scheme.get("type"), scheme.get("num_bits")) if isinstance(scheme, Mapping) else (scheme, None)
        if kind != ("float", FP8_BITS):
            raise InputError(
                f"{where}.kv_cache_scheme: type = {kind[0]!r} with num_bits = {kind[1]!r}, expected float, 8"
            )
    return "fp8" if algorithm or scheme else None


def _fp8(config: Mapping[str, Any], where: str) -> tuple[str, float]:
    return ("fp8_block" if config.get("weight_block_size") else "fp8"), FP8_BITS


def _mxfp4(config: Mapping[str, Any], where: str) -> tuple[str, float]:
    return "mxfp4", MXFP4_BITS


def _int4(config: Mapping[str, Any], where: str) -> tuple[str, float]:
    bits = config.get("bits", config.get("w_bit"))
    if bits != INT4_BITS:
        raise InputError(f"{where}.bits = {bits!r}, expected 4")
    group = config.get("group_size", config.get("q_group_size", 128))
    zero_bits = 0 if config.get("sym") else INT4_BITS
    return "int4", INT4_BITS + ((SCALE_BITS + zero_bits) / group if group > 0 else 0.0)


def _compressed_tensors(config: Mapping[str, Any], where: str) -> tuple[str, float]:
    found = {_group(name, group, where) for name, group in (config.get("config_groups") or {}).items()}
    if len(found) != 1:
        raise InputError(f"{where}.config_groups: {len(found)} types of weights, expected one for all layers")
    return found.pop()


def _group(name: str, group: Mapping[str, Any], where: str) -> tuple[str, float]:
    weights, targets = group.get("weights") or {}, group.get("targets") or ["Linear"]
    if targets != ["Linear"]:
        raise InputError(
            f"{where}.config_groups.{name}.targets = {targets!r}, expected ['Linear']: all but what is ignored"
        )
    kind = (weights.get("type"), weights.get("num_bits"))
    if kind == ("float", FP8_BITS):
        return ("fp8_block" if weights.get("strategy") == "block" else "fp8"), FP8_BITS
    if kind == ("int", INT4_BITS):
        size = weights.get("group_size") or 0
        return "int4", INT4_BITS + (SCALE_BITS / size if size > 0 else 0.0)
    raise InputError(
        f"{where}.config_groups.{name}.weights: type = {kind[0]!r} with num_bits = {kind[1]!r}, "
        "expected float with 8 or int with 4"
    )


def _modelopt(config: Mapping[str, Any], where: str) -> tuple[str, float]:
    algorithm = config.get("quant_algo")
    if algorithm != "FP8":
        raise InputError(f"{where}.quant_algo = {algorithm!r}, expected 'FP8'")
    return "fp8", FP8_BITS


def _left_alone(part: Part, ignored: Iterable[str], layers: int) -> bool:
    """Whether the modules of a part stay as they are in at least half of the layers."""
    named, everywhere = set(), False
    for name in ignored:
        if NO_MATRIX.search(name) or not re.search(MODULES[part], name):
            continue
        layer = re.search(r"layers\.(\d+)(\.|$)", name)
        everywhere |= layer is None and "vision" not in name
        if layer is not None:
            named.add(int(layer.group(1)))
    return everywhere or 2 * len(named) >= layers
