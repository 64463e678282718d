"""OPT: transformers' OPTForCausalLM, as 125M, as 350M, and with the options of Galactica."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers import OPTConfig

from tests.families.case import Case
from tests.reference.from_transformers import FromTransformers, Rename, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151, "hidden_size": 60, "ffn_dim": 92, "num_hidden_layers": 3, "num_attention_heads": 6,
    "max_position_embeddings": 48,
}  # fmt: skip


def opt(seed: int, weights: Rename | None = None, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny OPT with the given differences from SIZES."""
    return make("OPTForCausalLM", OPTConfig(**SIZES | changes), seed, weights=weights, respell=respell)


def older_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's names without the outer model's."""
    return {name.removeprefix("model."): value for name, value in tensors.items()}


def galactica(config: dict[str, Any]) -> dict[str, Any]:
    """What Galactica's files say besides."""
    return config | {"learned_embeddings": True, "scale_embeddings": False}


CASES = (
    Case("125m", partial(opt, 1)),
    Case("350m", partial(opt, 32, older_names, do_layer_norm_before=False, word_embed_proj_dim=28)),
    Case(
        "unfinished-norm", partial(opt, 3, _remove_final_layer_norm=True, word_embed_proj_dim=20, num_hidden_layers=2)
    ),
    Case("galactica", partial(opt, 4, None, galactica, enable_bias=False, activation_function="gelu")),
    Case("unaffine-untied", partial(opt, 5, layer_norm_elementwise_affine=False, tie_word_embeddings=False)),
)
