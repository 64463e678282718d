"""T5Gemma: transformers' T5GemmaForConditionalGeneration, in its eager attention, the only one that caps scores."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import T5GemmaConfig, T5GemmaModuleConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.answering import Answering
from tests.reference.gemma2 import SIZES as GEMMA2_SIZES

SIZES = GEMMA2_SIZES | {"bos_token_id": 5, "rms_norm_eps": 0.1}
ENCODER: dict[str, Any] = {
    "hidden_size": 44,
    "intermediate_size": 52,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 48,
    "rms_norm_eps": 0.03,
    "rope_parameters": {"rope_type": "default", "rope_theta": 90.0},
    "head_dim": 14,
    "query_pre_attn_scalar": 13,
    "attn_logit_softcapping": 1.2,
    "sliding_window": 3,
}


def t5gemma(seed: int, encoder: dict[str, Any] | None = None, tie: bool = True, **changes: Any) -> FromTransformers:
    """A tiny T5Gemma; the sizes of the encoder are other ones unless `encoder` has changes to those of the decoder."""
    stacks = (SIZES | ENCODER if encoder is None else SIZES | changes | encoder, SIZES | changes)
    config = T5GemmaConfig(
        encoder=T5GemmaModuleConfig(**stacks[0]),
        decoder=T5GemmaModuleConfig(**stacks[1]),
        vocab_size=SIZES["vocab_size"],
        decoder_start_token_id=5,
        tie_word_embeddings=tie,
    )
    options: dict[str, Any] = {"unit_offset": True, "table": 0.05, "attention": "eager", "kind": Answering}
    if changes.get("attn_logit_softcapping", True) is None:
        options["gains"] = {
            "q_proj.weight": 0.15,
            "lm_head.out_proj.weight": 0.3,
        }  # nothing else bounds the scores, and sharp ones amplify rounding
    reference = make("T5GemmaForConditionalGeneration", config, seed, **options)
    for stack in (reference.model.config.encoder, reference.model.config.decoder):
        stack.pad_token_id = SIZES["vocab_size"]  # the class masks this token wherever it stands; no prompt has it
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if "post_" in name or name.endswith("coder.norm.weight"):
                parameter.add_(
                    2.0 if "post_" in name else 6.0
                )  # branches that outweigh the embedding, whose tied head would repeat the input
    return reference


Answer = partial(Case, topology="encoder-decoder", lead=(5,))
CASES = (
    Answer("two-sizes", partial(t5gemma, 1)),
    Answer("uncapped", partial(t5gemma, 2, {}, False, attn_logit_softcapping=None, final_logit_softcapping=None)),
    Answer("biased", partial(t5gemma, 3, {"attention_bias": False}, attention_bias=True, hidden_activation="silu")),
)
