"""Text models inside classes of transformers that also read pictures: the class with a tiny vision part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from archc.proof.from_transformers import FromTransformers, make

_SIGLIP: Mapping[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
_QWEN: Mapping[str, Any] = {"depth": 1, "hidden_size": 16, "intermediate_size": 12, "num_heads": 2}
_VISION: Mapping[str, Mapping[str, Any]] = {
    "siglip_vision_model": _SIGLIP,
    "clip_vision_model": {**_SIGLIP, "projection_dim": 8},
    "pixtral": {**_SIGLIP, "head_dim": 8},
    "qwen2_vl": {"depth": 1, "embed_dim": 16, "num_heads": 2, "mlp_ratio": 1},
    "qwen2_5_vl": {**_QWEN, "fullatt_block_indexes": [0]},
    "qwen3_5": {**_QWEN, "num_position_embeddings": 4},
    "qwen3_5_moe": {**_QWEN, "num_position_embeddings": 4},
    "glm4v_vision": {**_QWEN, "image_size": 8, "patch_size": 4},
    "glm_ocr_vision": {**_QWEN, "image_size": 8, "patch_size": 4},
    "glm4v_moe_vision": {**_QWEN, "image_size": 8, "patch_size": 4},
    "qwen3_vl": {**_QWEN, "num_position_embeddings": 4, "deepstack_visual_indexes": [0]},
    "gemma4_vision": {
        "hidden_size": 16,
        "intermediate_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "patch_size": 4,
        "position_embedding_size": 16,
    },
}
# Kinds without a projector.
_OUT_WIDTH = ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_5_moe", "glm4v_vision", "glm4v_moe_vision", "glm_ocr_vision")
# Of all classes: modules that text does not pass through.
_OUTSIDE = ("vision_tower", "multi_modal_projector", "visual.", "embed_vision")


def make_multimodal(
    name: str, sizes: Mapping[str, Any], seed: int, vision: str, text: str, **options: Any
) -> FromTransformers:
    """Return a reference of `{name}ForConditionalGeneration` with a text model of these sizes and of type `text`.

    `vision` is the kind of its vision part, whose width is the text model's where the class has no projector.
    """
    width = {"out_hidden_size": sizes["hidden_size"]} if vision in _OUT_WIDTH else {}
    width |= {"hidden_size": sizes["hidden_size"]} if vision == "qwen2_vl" else {}
    config = getattr(transformers, f"{name}Config")(
        text_config={"model_type": text, **sizes},
        vision_config={"model_type": vision, **_VISION[vision], **width},
        tie_word_embeddings=sizes.get("tie_word_embeddings", False),
    )
    return make(f"{name}ForConditionalGeneration", config, seed, outside=_OUTSIDE, **options)
