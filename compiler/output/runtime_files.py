"""The files that other runtimes read next to a graph: those of the checkpoint, and genai_config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.weights.checkpoint.generation import SpecialTokens

_COPIED = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
)
_LARGEST = 64 << 20  # bytes of one such file


def runtime_files(checkpoint: Path | None, spec: BoundSpec, length: int, tokens: SpecialTokens) -> Mapping[str, bytes]:
    """Return the contents of the files by name; `length` is the most tokens of a sequence."""
    files = {}
    if checkpoint is not None and checkpoint.is_dir():
        found = (checkpoint / name for name in _COPIED)
        files = {path.name: path.read_bytes() for path in found if path.is_file() and path.stat().st_size <= _LARGEST}
    genai = genai_config(spec, length, tokens)
    return files if genai is None else {**files, "genai_config.json": json.dumps(genai, indent=2).encode()}


def genai_config(spec: BoundSpec, length: int, tokens: SpecialTokens) -> dict[str, Any] | None:
    """Return the configuration of onnxruntime-genai, or None for a model that it does not run.

    It allocates caches itself, so that all layers need the same heads.
    """
    attention = [layer.attention for layer in spec.layers]
    first = attention[0]
    if spec.topology != "decoder" or not isinstance(first, words.GroupedQueryAttention):
        return None
    sizes = {
        (each.kv_heads, each.head_dim) if isinstance(each, words.GroupedQueryAttention) else None for each in attention
    }
    if len(sizes) > 1 or any(layer.recurrence is not None for layer in spec.layers):
        return None
    ends = list(tokens.eos)
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": first.head_dim,
        "hidden_size": spec.embedding.width,
        "num_attention_heads": first.heads,
        "num_hidden_layers": len(spec.layers),
        "num_key_value_heads": first.kv_heads,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "position_ids": "position_ids",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    end = ends[0] if len(ends) == 1 else ends
    return {
        "model": {
            "type": "decoder",
            **({} if tokens.bos is None else {"bos_token_id": tokens.bos}),
            "eos_token_id": end,
            "pad_token_id": tokens.pad if tokens.pad is not None else (ends or [0])[0],
            "context_length": length,
            "vocab_size": spec.embedding.vocab,
            "decoder": decoder,
        },
        "search": {"do_sample": False, "max_length": length, "past_present_share_buffer": False},
    }
