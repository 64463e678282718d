"""Keys of config.json that do not affect the computation of any model, so that a spec need not read them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from functools import cache

# Training, generation, tokens, labels, and how a library runs the model; `*` matches any text.
NEUTRAL_KEYS = (
    "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "auto_map", "_name_or_path",
    "name_or_path", "_commit_hash", "_attn_implementation*", "attn_implementation", "_flash_attn_2_enabled",
    "_experts_implementation*", "cache_implementation",
    "*dropout*", "*_pdrop", "*initializer_range", "initializer_factor", "*_token_id", "*_token_ids", "use_cache",
    "id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params", "summary_*",
    "return_dict*", "output_attentions", "output_hidden_states", "output_past", "output_scores",
    "pretraining_tp", "gradient_checkpointing", "use_bfloat16", "tf_legacy_loss", "torchscript", "prefix",
    "tokenizer_class",
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "exponential_decay_length_penalty",
    "remove_invalid_values", "suppress_tokens", "begin_suppress_tokens",
    "quantization_config", "compression_config",  # how weights are stored, which the reader of a checkpoint judges
    "original_max_position_embeddings",  # part of a rope scaling, and without effect when there is none
)  # fmt: skip

# Values at which a key has no effect; with any other value a spec must read the key.
NEUTRAL_VALUES: Mapping[str, object] = {
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "tie_encoder_decoder": False,
    "chunk_size_feed_forward": 0,
    "pruned_heads": {},
    "partial_rotary_factor": 1.0,
}


def is_neutral(key: str, value: object) -> bool:
    """Return whether a key with this value cannot affect the computation; null stands for an absent key."""
    if value is None or (key in NEUTRAL_VALUES and value == NEUTRAL_VALUES[key]):
        return True
    return bool(_pattern().match(key))


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in NEUTRAL_KEYS))
