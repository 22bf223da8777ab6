"""Reads the config.json of a Hugging Face model: understood wholly, or refused with the key that is not."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmsim.errors import InputError, nearest
from llmsim.latency.families import FAMILIES, WRAPPERS, Family
from llmsim.latency.hf_keys import OUTER, check_all_are_understood, refuse_what_is_not_modelled
from llmsim.latency.model import Model
from llmsim.latency.profile_files import read_json, read_record
from llmsim.latency.quantization_config import read_kv_cache, read_quantization

GATED = ("silu", "swish", "swiglu")  #: activations that, without a model_type, say that the MLP is gated
UNGATED = ("relu", "relu2", "gelu", "gelu_new", "gelu_fast")
NO_IMAGES = "images and sounds: the language model alone is modelled"
#: names of folders that say nothing about what lies in them
PLACES = re.compile(
    r"models?|configs?|hf|checkpoints?|weights|data|tmp|home|main|snapshots|[0-9a-f]{40}|\.*", re.IGNORECASE
)

#: types of weights that count as bf16, as engines load them
CAST_TO_BF16 = ("bfloat16", "float16", "float32", "auto")


WORDS = ("model_type", "hidden_act", "hidden_activation", "torch_dtype", "dtype")
LISTS = ("layer_types", "mlp_only_layers", "no_rope_layers")
NUMBERS = (
    *("hidden_size", "intermediate_size", "intermediate_size_mlp", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"),
)


class _Config:
    """The keys of one config.json, and which of them were used."""

    def __init__(self, data: Mapping[str, Any], family: Family, where: str) -> None:
        self.data, self.family, self.where = data, family, where
        self.used: set[str] = set()

    def get(self, *keys: str) -> Any:
        """The first of these that is there, or what the family takes for it, or None."""
        self.used.update(keys)
        for source in (self.data, self.family.defaults):
            for key in keys:
                if source.get(key) is not None:
                    return source[key]
        return None

    def count(self, *keys: str) -> int:
        """The first of these as a whole number; 0 without any."""
        value = self.get(*keys)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return int(value or 0)
        key = next(key for key in keys if key in self.data)
        raise InputError(f"{self.where}: {key} = {value!r}, expected a whole number, not negative")

    def expect(self, key: str, wanted: Any) -> None:
        """InputError unless the key is left out or has this value."""
        value = self.get(key)
        if value is not None and value != wanted:
            raise InputError(f"{self.where}: {key} = {value!r}, expected {wanted!r}: nothing else is modelled")


def read_hf_config(path: Path | str, name: str | None = None) -> Model:
    """Read the config.json of a decoder with attention in each layer, dense or with experts; `name` it, if given.

    Raises InputError for a file that is not one, naming the key that is not understood.
    """
    outer = read_json(Path(path))
    inner, where, left_out = _text_config(outer, str(path))
    _check_kinds(inner, where)
    family = _family(inner, where)
    config = _Config(inner, family, where)
    known = _sizes(config) | {"not_modelled": left_out + _approximations(config)}
    known |= _quantization(config, outer, str(path))
    known["other_parameters"] = _other_parameters(config, known)
    check_all_are_understood(inner, config.used, where)
    called = name or _name(outer, Path(path))
    known["name"] = called or "unnamed"
    known["provenance"] = {"source": f"{path}", "date": _modified(Path(path))}
    model = read_record(Model, {key: value for key, value in known.items() if value is not None}, where)
    return model if called else model.model_copy(update={"name": _described(inner, model)})


def _text_config(outer: dict[str, Any], where: str) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """The keys of the language model, where they stand, and what of the rest is not modelled."""
    if not isinstance(outer.get("text_config"), dict):
        if outer.get("vision_config") or outer.get("audio_config"):  # beside the language model's keys
            return {key: value for key, value in outer.items() if not OUTER.fullmatch(key)}, where, (NO_IMAGES,)
        return outer, where, ()
    inner = dict(outer["text_config"])
    kind = outer.get("model_type")
    inner.setdefault("model_type", WRAPPERS.get(kind, kind) if isinstance(kind, str) else None)
    for key in ("tie_word_embeddings", "torch_dtype", "dtype"):
        if key in outer:
            inner.setdefault(key, outer[key])
    beside = {key: value for key, value in outer.items() if not OUTER.fullmatch(key)}
    check_all_are_understood(beside, {"text_config", "quantization_config", "tie_word_embeddings", "vocab_size"}, where)
    return inner, f"{where}: text_config", (NO_IMAGES,)


def _check_kinds(config: Mapping[str, Any], where: str) -> None:
    """Refuse values of another kind than all files have; which numbers will do is checked where they are taken."""
    for keys, kind, words in ((WORDS, str, "a word"), (LISTS, list, "a list"), (NUMBERS, int, "a whole number")):
        for key in keys:
            if not isinstance(config.get(key), kind | None):
                raise InputError(f"{where}: {key} = {config[key]!r}, expected {words}")
    for kind in config.get("layer_types") or ():
        if not isinstance(kind, str):
            raise InputError(f"{where}: layer_types has {kind!r}, expected words")


def _family(config: Mapping[str, Any], where: str) -> Family:
    """What the model_type fixes; without one, what keys and activation say. InputError for another type."""
    _refuse_other_layers(config, where)
    kind = config.get("model_type")
    if kind in FAMILIES:
        return FAMILIES[kind]
    refuse_what_is_not_modelled(config, where, known=kind is None)
    if kind is not None:
        raise InputError(
            f"{where}: model_type = {kind!r} is not known, a .toml model profile can state its sizes"
            f"{nearest(str(kind), FAMILIES)}"
        )
    act = config.get("hidden_act") or config.get("hidden_activation") or "silu"
    if act not in GATED + UNGATED:
        raise InputError(f"{where}: hidden_act = {act!r} without model_type: it may be gated or not; add model_type")
    return Family(gated=act in GATED)


def _refuse_other_layers(config: Mapping[str, Any], where: str) -> None:
    known = {"full_attention", "sliding_attention", "chunked_attention"}
    for kind in config.get("layer_types") or ():
        if kind not in known:
            words = str(kind).replace("_", " ")
            raise InputError(f"{where}: layer_types has {kind}: {words} is not modelled, only attention in each layer")


def _sizes(config: _Config) -> dict[str, Any]:
    latent, experts = _latent_attention(config), _experts(config)
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    head_dim = config.get("head_dim")
    if latent is not None:
        head_dim = config.count("qk_nope_head_dim") + config.count("qk_rope_head_dim")
    elif head_dim is None and isinstance(heads, int) and heads > 0 and isinstance(hidden, int):
        head_dim, rest = divmod(hidden, heads)
        if rest:
            raise InputError(
                f"{config.where}: hidden_size = {hidden} is no multiple of num_attention_heads = {heads}; add head_dim"
            )
    kv_heads = config.get("num_key_value_heads")
    inner = config.get("intermediate_size_mlp", "intermediate_size")
    if experts is not None and not experts["num_dense_layers"]:
        inner = experts["moe_intermediate_size"]
    config.get("hidden_act", "hidden_activation")
    return {
        "hidden_size": hidden,
        "num_hidden_layers": config.get("num_hidden_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": heads if kv_heads is None or latent else kv_heads,
        "head_dim": head_dim,
        "intermediate_size": inner,
        "vocab_size": config.get("vocab_size"),
        "max_model_len": config.get("max_position_embeddings"),
        "tie_word_embeddings": config.get("tie_word_embeddings"),
        "gated_mlp": config.family.gated,
        "experts": experts,
        "latent_attention": latent,
        "sliding_window": _sliding_window(config),
    }


def _experts(config: _Config) -> dict[str, int] | None:
    count = config.count("num_experts", "num_local_experts", "n_routed_experts")
    per_token = config.count("num_experts_per_tok", "experts_per_token")
    for key in ("moe_layer_freq", "decoder_sparse_step"):
        config.expect(key, 1)
    size = config.count("moe_intermediate_size", "intermediate_size")
    shared = config.count("shared_expert_intermediate_size", "shared_intermediate_size")
    shared = shared or size * config.count("n_shared_experts", "num_shared_experts")
    dense = config.count("first_k_dense_replace") or len(config.get("mlp_only_layers") or ())
    step = config.count("interleave_moe_layer_step")
    if step:  # Llama 4: every step-th layer has experts, and one that every token passes
        layers = config.count("num_hidden_layers")
        dense, shared = layers - layers // step, size
    if not count:
        return None
    if not per_token:
        raise InputError(
            f"{config.where}: {count} experts without num_experts_per_tok; expected how many a token is sent to"
        )
    return {
        "num_experts": count,
        "num_experts_per_tok": per_token,
        "moe_intermediate_size": size,
        "shared_intermediate_size": shared,
        "num_dense_layers": dense,
    }


def _latent_attention(config: _Config) -> dict[str, int] | None:
    keys = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    found = {key: config.count(key) for key in keys}
    return found if found["kv_lora_rank"] else None


def _sliding_window(config: _Config) -> dict[str, int] | None:
    tokens, layers = (
        config.count("sliding_window", "sliding_window_size", "attention_chunk_size"),
        config.count("num_hidden_layers"),
    )
    every = config.count("sliding_window_pattern", "_sliding_window_pattern") or config.family.window_every
    kinds = Counter(config.get("layer_types") or ())
    windowed = config.get("use_sliding_window")
    chunked, no_rope = config.get("attention_chunk_size"), config.get("no_rope_layers")
    if kinds and kinds.total() != layers:
        raise InputError(f"{config.where}: layer_types has {kinds.total()} layers, num_hidden_layers = {layers}")
    if kinds:
        inside = layers - kinds["full_attention"]
    elif config.family.window_always:
        inside = layers
    elif every:
        inside = layers - layers // every
    elif chunked:
        inside = sum(map(bool, no_rope)) if no_rope else layers - layers // 4
    elif windowed is None and tokens:
        raise InputError(f"{config.where}: sliding_window = {tokens}, but no layer_types say which layers it holds in")
    else:
        inside = max(0, layers - config.count("max_window_layers")) if windowed else 0
    if windowed is False or not tokens or not inside:
        return None
    longest = config.get("max_position_embeddings")
    if isinstance(longest, int) and tokens >= longest:
        return None
    return {"tokens": tokens, "layers": inside}


def _approximations(config: _Config) -> tuple[str, ...]:
    chunk = config.get("attention_chunk_size")
    return (f"attention in chunks of {chunk} tokens counts as a window of {chunk}",) if chunk else ()


def _quantization(config: _Config, outer: Mapping[str, Any], where: str) -> dict[str, Any]:
    stated = config.get("quantization_config", "compression_config") or outer.get("quantization_config")
    dtype = config.get("torch_dtype", "dtype")
    if not stated and dtype not in (None, *CAST_TO_BF16):
        raise InputError(
            f"{config.where}: torch_dtype = {dtype!r}, expected one of {', '.join(CAST_TO_BF16)}, or a "
            "quantization_config that says how weights are scaled"
        )
    if not stated:
        return {}
    place = f"{where}: quantization_config"
    if not isinstance(stated, Mapping):
        raise InputError(f"{place} = {stated!r}, expected a table with quant_method")
    weights = read_quantization(stated, config.count("num_hidden_layers"), place)
    return {"quantization": weights, "kv_cache_dtype": read_kv_cache(stated, place)}


def _other_parameters(config: _Config, sizes: Mapping[str, Any]) -> int:
    """Biases and norms beyond two rows a layer and one at the end: parameters that no matrix has."""
    family, experts, latent = config.family, sizes["experts"], sizes["latent_attention"]
    layers, h = config.count("num_hidden_layers"), config.count("hidden_size")
    query = config.count("num_attention_heads") * int(sizes["head_dim"] or 0)
    kv = int(sizes["num_key_value_heads"] or 0) * int(sizes["head_dim"] or 0)
    stated = bool(config.get("attention_bias", "use_bias", "use_qkv_bias"))
    each = (family.norm_rows - 2) * h
    if (stated if family.qkv_bias is None else family.qkv_bias) and not latent:
        each += query + 2 * kv
    if (stated if family.output_bias is None else family.output_bias) and not latent:
        each += h
    if family.mlp_bias or config.get("mlp_bias"):
        each += (2 if family.gated else 1) * int(sizes["intermediate_size"] or 0) + h
    norms = config.get("use_qk_norm")
    if family.qk_norm == "head" or (norms and config.data.get("model_type") == "glm4_moe"):
        each += 2 * int(sizes["head_dim"] or 0)
    elif family.qk_norm == "full":
        each += query + kv
    if latent:
        each += latent["q_lora_rank"] + latent["kv_lora_rank"]
    total = layers * each + (family.final_norm_rows - 1) * h
    return total + (_beside_experts(config, experts, layers, h) if experts else 0)


def _beside_experts(config: _Config, experts: Mapping[str, int], layers: int, h: int) -> int:
    """Biases of experts and routers, gates of shared experts, GPT-OSS's attention sinks."""
    count, size = experts["num_experts"], experts["moe_intermediate_size"]
    moe_layers = layers - experts["num_dense_layers"]
    match config.data.get("model_type"):
        case "gpt_oss":
            return moe_layers * (count * (2 * size + h) + count + config.count("num_attention_heads"))
        case "deepseek_v3" | "kimi_k2" | "glm4_moe" | "minimax_m2":
            return moe_layers * count
        case "qwen2_moe":
            return moe_layers * h
    return 0


def _name(outer: Mapping[str, Any], path: Path) -> str:
    """What the file or its folder calls the model, in small letters; "" where neither says."""
    stated = outer.get("_name_or_path")
    parents = [parent.name for parent in path.resolve().parents]
    hub = next((name for name in parents if name.startswith("models--")), "")
    for name in (Path(stated).name if isinstance(stated, str) else "", hub.rpartition("--")[2], *parents[:1]):
        if name and not PLACES.fullmatch(name):
            return name.lower()
    return ""


def _described(config: Mapping[str, Any], model: Model) -> str:
    return f"{config.get('model_type') or 'model'}-{model.parameters / 1e9:.3g}b"


def _modified(path: Path) -> str:
    return datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
