"""Keys of a Hugging Face config.json: those that change nothing here, and those that say what is not modelled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from llmsim.errors import InputError

#: of a model whose layers are not all attention and MLP; by key, in words
OTHER_LAYERS = {
    r"hybrid_override_pattern|hybrid_layer_ids|layers_block_type|block_types|attn_layer_(period|offset|indices)|"
    r"attn_type_list": "a hybrid of attention and other layers",
    r"(mamba|ssm|conv|state|d_conv|d_state|mixer)_.*|.*_ssm_.*|mamba2?|ssm_cfg|attn_cfg|state_size|time_step_.*|"
    r"conv_kernel": "Mamba layers",
    r"full_attention_interval|linear_.*|lightning_.*|short_conv.*|kda_.*|gated_.*|gdn_.*|delta_.*": "linear attention",
    r"index_(topk|n_heads|head_dim).*|sparse_attention.*|dsa_.*|nsa_.*|compress_ratios?": "sparse attention",
    r"attn_output_gate|parallel_attn|alibi|multi_query|new_decoder_architecture": "another form of attention",
    r"encoder_.*|is_encoder_decoder|num_encoder_layers|decoder_layers|decoder_ffn_dim|cross_attention_.*|"
    r"add_cross_attention": "an encoder or cross attention",
    r"num_kv_shared_layers|cla_share_factor|use_cla|kv_sharing.*": "layers that share keys and values",
    r"attention_k_eq_v|(num_)?global_(head_dim|key_value_heads)": "layers with other heads",
}
#: the same, and what only models that we know may have
NOT_MODELLED = OTHER_LAYERS | {
    r".*num_experts.*|.*n_experts.*|num_local_experts|n_routed_experts|moe_.*|.*_moe|.*_moe_.*|top_k_experts|"
    r"ffn_config|experts_per_token|n_shared_experts|.*shared_expert.*": "a mixture of experts of another kind",
    r"(q|kv)_lora_rank|qk_(nope|rope)_head_dim|v_head_dim": "latent attention of another kind",
    r".*sliding_window.*|layer_types|attention_chunk_size|.*window_size.*": "attention windows of another kind",
}

#: no effect on the sizes of a decoder or on the time of its steps, as far as these are modelled
NO_EFFECT = re.compile(
    r"_name_or_path|architectures|auto_map|model_type|torch_dtype|dtype|transformers(\.js)?_(version|config)|use_cache|"
    r".*_token_(id|index)|.*_token_ids|.*dropout.*|.*_pdrop|init(ializer)?_.*|.*_init_.*|rope_.*|rotary_.*|rotary|"
    r"partial_rotary_factor|original_max_position_embeddings|initial_context_length|max_window_layers|"
    r"(rms_|layer_)?norm_eps(ilon)?|layernorm_epsilon|norm_type|.*aux_loss.*|.*z_loss.*|output_.*|return_dict.*|pretraining_tp|ep_size|"
    r"norm_topk_prob|scoring_func|score_func.*|topk_method|topk_group|n_group|routed_scaling_factor|seq_aux|"
    r"use_routing_bias|use_bfloat16|use_bf16|tokenizer_class|problem_type|id2label|label2id|num_labels|finetuning_task|"
    r"task_specific_params|prefix|torchscript|tf_legacy_loss|temperature|top_[kp]|typical_p|num_beams|"
    r"num_beam_groups|do_sample|min_length|max_length|length_penalty|repetition_penalty|diversity_penalty|"
    r"no_repeat_ngram_size|early_stopping|num_return_sequences|exponential_decay_length_penalty|suppress_tokens|"
    r"begin_suppress_tokens|bad_words_ids|chunk_size_feed_forward|is_decoder|pruned_heads|_?attn_implementation.*|"
    r"use_flash_attn.*|use_(fused|kernel).*|.*logit_softcapping|query_pre_attn_scalar|"
    r"(attention|embedding|residual|logits)_(multiplier|scaling)|logit_scale|swiglu_limit|num_nextn_predict_layers|"
    r"use_mtp|mtp_.*|num_mtp_modules|unsloth_.*|gradient_checkpointing.*|ignore_index|attention_temperature.*|attn_temperature_tuning|"
    r"attn_scale|floor_scale|for_llm_compressor|no_rope_layers|no_rope_layer_interval|moe_layers|qk_head_dim|"
    r"rope_interleave|use_bidirectional_attention|router_.*|output_router_logits|qk_norm_type|use_parallel_residual|"
    r"model_max_length|seq_length|max_sequence_length|use_token_type_embedding|hidden_activation|activation_function|"
    r"mlp_type|embedding_dropout|use_mrope|clip_qkv|_flash_attn_2_enabled|embd_pdrop|_experts_implementation|"
    r"use_residual_scaling|use_sliding_window|language|license|num_image_tokens|cache_implementation|"
    r"sep_token|unk_token|pad_token|bos_token|eos_token"
)
#: of the outer config.json where the sizes lie in text_config: of images, sounds and how they are put in
OUTER = re.compile(
    r"(.*_)?(vision|images?|videos?|audio|visual|media|boi|eoi|boa|eoa|projector|mm|multimodal|spatial|vit)(_.*)?"
)


def check_all_are_understood(config: Mapping[str, Any], used: Iterable[str], where: str) -> None:
    """InputError naming the first key that is neither used nor known to change nothing, and what it says.

    None, false, 0, "" and empty tables count as left out.
    """
    rest = _that_say_something(config, used)
    _refuse(rest, where)
    for key, value in rest.items():
        if not NO_EFFECT.fullmatch(key):
            raise InputError(
                f"{where}: {key} = {_short(value)} is not understood; if it changes neither sizes nor step times, "
                "take it out, or else write the sizes into a .toml model profile"
            )


def refuse_what_is_not_modelled(config: Mapping[str, Any], where: str, *, known: bool) -> None:
    """InputError naming the first key of a model that is none of ours; `known`: experts and windows are."""
    _refuse(_that_say_something(config, ()), where, OTHER_LAYERS if known else NOT_MODELLED)


def _that_say_something(config: Mapping[str, Any], used: Iterable[str]) -> dict[str, Any]:
    empty: tuple[Any, ...] = (None, False, 0, "", [], {})
    return {key: value for key, value in config.items() if key not in used and value not in empty}


def _refuse(rest: Mapping[str, Any], where: str, patterns: Mapping[str, str] | None = None) -> None:
    for pattern, words in (NOT_MODELLED if patterns is None else patterns).items():
        for key, value in rest.items():
            if re.fullmatch(pattern, key) and not NO_EFFECT.fullmatch(key):
                raise InputError(f"{where}: {key} = {_short(value)}: {words}, which is not modelled")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
