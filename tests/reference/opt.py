"""OPT: transformers' OPTForCausalLM, as 125M, as 350M, and with the options of Galactica."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers import OPTConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "ffn_dim": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 48,
}


# The eps of the norms is a constant, 1e-5, which only a residual stream of small numbers shows.
SMALL: dict[str, float] = {
    "out_proj.weight": 0.005,
    "out_proj.bias": 0.005,
    "fc2.weight": 0.005,
    "fc2.bias": 0.005,
    "decoder.final_layer_norm.weight": 10.0,
}
# Post-norms, all but the last, make the stream small; the weights that read it compensate.
SMALL_AFTER: dict[str, float] = SMALL | {
    "project_in.weight": 0.01,
    "embed_positions.weight": 0.01,
    "layer_norm.weight": 0.01,
    "layer_norm.bias": 0.01,
    "layers.2.final_layer_norm.weight": 1.0,
    "layers.2.final_layer_norm.bias": 1.0,
    "v_proj.bias": 0.01,
    "q_proj.weight": 100.0,
    "k_proj.weight": 100.0,
    "fc1.weight": 100.0,
}


def opt(
    seed: int, weights: Rename | None = None, respell: Respell | None = None, small: bool = True, **changes: Any
) -> FromTransformers:
    """A tiny OPT with the given differences from SIZES."""
    config = OPTConfig(**SIZES | changes)
    gains = SMALL if config.do_layer_norm_before else SMALL_AFTER
    table = 0.004 if small and config.do_layer_norm_before else 0.3
    options: dict[str, Any] = {"weights": weights, "respell": respell, "table": table}
    return make("OPTForCausalLM", config, seed, gains=gains if small else None, **options)


def older_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's names without the outer model's."""
    return {name.removeprefix("model."): value for name, value in tensors.items()}


def galactica(config: dict[str, Any]) -> dict[str, Any]:
    """Return further keys of Galactica's files."""
    return config | {"learned_embeddings": True, "scale_embeddings": False}


CASES = (
    Case("125m", partial(opt, 1)),
    Case("350m", partial(opt, 32, older_names, do_layer_norm_before=False, word_embed_proj_dim=28)),
    Case(
        "unfinished-norm",
        partial(opt, 3, small=False, _remove_final_layer_norm=True, word_embed_proj_dim=20, num_hidden_layers=2),
    ),
    Case(
        "galactica",
        partial(opt, 4, None, galactica, enable_bias=False, activation_function="gelu", tie_word_embeddings=False),
    ),
    Case("unaffine-untied", partial(opt, 5, layer_norm_elementwise_affine=False, tie_word_embeddings=False)),
)
