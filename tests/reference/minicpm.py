"""MiniCPM 1, 2 and 4: the arithmetic of transformers' GraniteForCausalLM under the keys of MiniCPM."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from transformers import GraniteConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference import deepseek_llm
from tests.reference.spelling import named

SIZES = deepseek_llm.SIZES | {
    "num_key_value_heads": 6,
    "rms_norm_eps": 1e-1,
    "tie_word_embeddings": True,
}
LONG: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 300.0,
    "long_factor": [1.0, 1.5, 2.5, 3.5, 4.5],
    "short_factor": [1.0, 1.2, 1.4, 1.6, 1.8],
    "original_max_position_embeddings": 32,
}
MULTIPLIERS = ("embedding_multiplier", "residual_multiplier", "logits_scaling", "attention_multiplier")


def minicpm(
    seed: int, *, scale_emb: float, scale_depth: float, dim_model_base: int, **changes: Any
) -> FromTransformers:
    """A tiny MiniCPM with the given multipliers and differences from SIZES."""
    sizes = SIZES | changes
    config = GraniteConfig(
        **sizes,
        embedding_multiplier=scale_emb,
        residual_multiplier=scale_depth / math.sqrt(sizes["num_hidden_layers"]),
        logits_scaling=sizes["hidden_size"] / dim_model_base,
        attention_multiplier=(sizes["hidden_size"] // sizes["num_attention_heads"]) ** -0.5,
    )
    own = {"scale_emb": scale_emb, "scale_depth": scale_depth, "dim_model_base": dim_model_base}

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        config = named("minicpm", "MiniCPMForCausalLM")(config) | own | {"mup_denominator": 32}
        return {key: value for key, value in config.items() if key not in (*MULTIPLIERS, "mlp_bias")}

    return make("GraniteForCausalLM", config, seed, respell=respell, table=0.1)


CASES = (
    Case("first", partial(minicpm, 1, scale_emb=5, scale_depth=1.4, dim_model_base=24)),
    Case(
        "fourth",
        partial(
            minicpm,
            2,
            scale_emb=7,
            scale_depth=2.1,
            dim_model_base=16,
            num_key_value_heads=2,
            tie_word_embeddings=False,
            rope_parameters=LONG,
        ),
    ),
)
