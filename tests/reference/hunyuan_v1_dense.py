"""Hunyuan V1: transformers' HunYuanDenseV1ForCausalLM, and the text model of HunYuanVLForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import HunYuanDenseV1Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.multimodal import make_multimodal
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 30.0, "alpha": 20.0, "factor": 1.0},
}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the published files."""
    width = {"attention_head_dim": config["head_dim"]}
    switches = {"use_qk_norm": True, "use_rotary_pos_emb": True, "use_cla": False, "cla_share_factor": 2}
    return older_rope(config) | width | switches | {"norm_type": "rms", "dense_list": [36, 0], "im_start_id": 4}


def hunyuan_v1_dense(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("HunYuanDenseV1ForCausalLM", HunYuanDenseV1Config(**SIZES | changes), seed, respell=respell)


def without_nesting(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the text model next to those of the file, and the older name of the rotary axes."""
    text = older_rope(config.pop("text_config"))
    text["rope_scaling"]["type"] = "xdrope"
    text["rope_scaling"]["xdrope_section"] = text["rope_scaling"].pop("mrope_section")
    return text | config


def hunyuan_vl(seed: int, respell: Respell | None = None) -> FromTransformers:
    """The text model of a tiny HunyuanOCR, whose rotary positions have three axes."""
    sizes = SIZES | {"rope_parameters": SIZES["rope_parameters"] | {"mrope_section": [2, 2, 1]}}
    tied = sizes | {"tie_word_embeddings": True}
    return make_multimodal("HunYuanVL", tied, seed, "hunyuan_vl_vision", "hunyuan_vl_text", respell=respell)


CASES = (
    Case("pictures", partial(hunyuan_vl, 3)),
    Case("pictures-older-file", partial(hunyuan_vl, 4, without_nesting)),
    Case("alpha", partial(hunyuan_v1_dense, 1, published, tie_word_embeddings=True)),
    Case(
        "linear",
        partial(
            hunyuan_v1_dense,
            2,
            attention_bias=True,
            rope_parameters={"rope_type": "linear", "rope_theta": 300.0, "factor": 4.0},
        ),
    ),
)
