"""Keys and values of config.json that do not affect the computation of any model, so that a spec need not read them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping
from functools import cache

# Keys by purpose; `*` matches any text.
NEUTRAL_KEYS: Mapping[str, tuple[str, ...]] = {
    "names, versions and origins": (
        "architectures", "model_type", "transformers_version", "auto_map", "_name_or_path", "name_or_path",
        "_commit_hash", "_from_model_config", "_class_name", "library_name", "model_name", "base_model*", "license",
        "is_llama_config", "unsloth_*", "*_unsloth", "transformers.js_config", "transformers_js_config", "adapters",
        "onnx_*", "openvino_*", "_diffusers_version",
    ),
    "dtypes, and kernels of a library": (
        "torch_dtype", "dtype", "params_dtype", "compute_dtype", "bf16", "fp16", "fp32", "use_bfloat16",
        "_attn_implementation*", "attn_implementation", "attn_impl", "_flash_attn_2_enabled", "use_flash_att*",
        "use_flash_attn*", "flash_attn*", "use_memory_efficient_attention", "unpad_inputs", "_experts_implementation*",
        "use_mamba_kernels", "use_mambapy", "use_associative_scan", "fused_dropout_add_ln", "fused_bias_fc",
        "reference_compile", "*_fusion", "*softmax_in_fp32", "fp32_residual_connection", "residual_in_fp32",
        "reorder_and_upcast_attn", "apply_query_key_layer_scaling", "chunk_size_feed_forward",
        "pretraining_tp", "base_model_tp_plan", "base_model_pp_plan", "ep_size", "tp_size", "tensor_parallel_size",
        "sequence_parallel*", "use_parallel_embedding", "torchscript", "tf_legacy_loss", "_fsdp*",
    ),
    "training": (
        "*dropout*", "*_pdrop", "*layerdrop", "gradient_checkpointing", "use_gradient_checkpointing",
        "*initializer_range", "initializer_factor", "initializer_cutoff_factor", "init_std", "init_method*",
        "init_device", "init_config", "*_loss_coef", "*_loss_coeff", "*_loss_alpha", "*_loss_weight", "seq_aux",
        "output_router_logits", "router_jitter_noise", "predict_special_tokens", "use_loss_mask",
        "save_step", "training_*", "seed",
    ),
    "tokens and labels": (
        "*_token_id", "*_token_ids", "*_token_index", "bos_token", "eos_token", "pad_token", "unk_token", "sep_token",
        "eod_token", "mask_token", "tokenizer_*", "prefix", "id2label", "label2id", "num_labels", "_num_labels",
        "problem_type", "finetuning_task", "task_specific_params", "summary_*", "classifier_*", "pooler_fc_size",
        "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "directionality",
        "sentence_transformers", "sbert_ce_default_activation_function",
    ),
    "outputs and generation": (
        "use_cache", "cache_implementation", "return_dict*", "output_attentions", "output_hidden_states", "output_past",
        "output_scores", "num_logits_to_keep", "keys_to_ignore_at_inference", "max_length", "min_length",
        "max_new_tokens", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
        "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "exponential_decay_length_penalty",
        "remove_invalid_values", "suppress_tokens", "begin_suppress_tokens", "force_bos_token_to_be_generated",
    ),
    # The stored form of weights, which is checked where a checkpoint is opened.
    "storage": ("quantization_config", "compression_config"),
    # Lengths of the training data, and of caches that a library allocates; `context` of a spec is the limit.
    "lengths": (
        "model_max_length", "max_sequence_length", "max_seq_len", "max_seq_length", "seq_length", "n_ctx",
        "original_max_position_embeddings",  # part of a rope scaling, and without effect when there is none
    ),
}  # fmt: skip

# Factors on rotary positions, which are neutral at 1.
_FACTORS = ("partial_rotary_factor", "rotary_pct", "rope_scaling_factor", "rotary_scaling_factor", "rope_ratio")

# Switches of components that most models have: a value that is off removes the component. They are never neutral.
_SWITCHES_OF_COMPONENTS = (
    "use_rope*", "rope", "rotary*", "use_rotary*", "*rotary_pct", "partial_rotary_factor", "rope_theta", "rope_ratio",
    "*causal*", "tie_word_embeddings", "*norm_affine*", "*elementwise_affine*",
)  # fmt: skip


def is_neutral(key: str, value: object) -> bool:
    """Return whether a key with this value cannot affect the computation; null stands for an absent key.

    A value that is off has no effect either, except at keys that switch off a component of most models.
    """
    if value is None or _matches(key, "neutral"):
        return True
    if key in _FACTORS and value == 1:
        return True
    return is_off(value) and not _matches(key, "switch")


def is_off(value: object) -> bool:
    """Return whether a value switches off or leaves out a feature: null, false, zero, or empty."""
    return value is None or value in (False, 0, "") or (isinstance(value, Mapping | list | tuple) and not value)


def _matches(key: str, kind: str) -> bool:
    return bool(_pattern(kind).match(key))


@cache
def _pattern(kind: str) -> re.Pattern[str]:
    keys: Collection[str] = _SWITCHES_OF_COMPONENTS
    if kind == "neutral":
        keys = [key for group in NEUTRAL_KEYS.values() for key in group]
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in keys))
