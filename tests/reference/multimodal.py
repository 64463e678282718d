"""Text models inside classes of transformers that also read pictures: the class with a tiny vision part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import transformers
from numpy.typing import NDArray

from archc.proof.case import Ids, Outputs
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
    "clip_vision_model": {**_SIGLIP, "hidden_size": 64, "projection_dim": 8},
    "pixtral": {**_SIGLIP, "head_dim": 8},
    "qwen2_vl": {"depth": 1, "embed_dim": 16, "num_heads": 2, "mlp_ratio": 1},
    "qwen2_5_vl": {**_QWEN, "fullatt_block_indexes": [0]},
    "qwen3_5": {**_QWEN, "num_position_embeddings": 4},
    "qwen3_5_moe": {**_QWEN, "num_position_embeddings": 4},
    "glm4v_vision": {**_QWEN, "image_size": 8, "patch_size": 4},
    "glm_ocr_vision": {**_QWEN, "image_size": 8, "patch_size": 4},
    "glm4v_moe_vision": {**_QWEN, "image_size": 8, "patch_size": 4},
    "glm5_next_vision": {**_QWEN, "image_size": 8, "patch_size": 4, "projection_intermediate_size": 12},
    "glm_image_vision": {**_QWEN, "image_size": 8, "patch_size": 4},
    "hunyuan_vl_vision": {**_SIGLIP, "max_image_size": 8},
    "granite_docling_vision": {**_SIGLIP, "image_size": 16, "deepstack_visual_indexes": [0]},
    "paddleocr_vl_vision": _SIGLIP,
    "cohere_compass_vision": {**_QWEN, "num_position_embeddings": 4, "deepstack_visual_indexes": [0]},
    "cosmos3_edge_vision": {**_SIGLIP, "num_patches": 4},
    "ernie4_5_vl_moe_vision": {**_QWEN, "depth": 1},
    "molmo2_vision": {**_SIGLIP, "num_key_value_heads": 2, "head_dim": 8, "image_size": [8, 8]},
    "mllama_vision_model": {
        "hidden_size": 16,
        "intermediate_size": 12,
        "attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
        "num_hidden_layers": 1,
        "num_global_layers": 1,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 32,
    },
    "muse_glimmer_vision": {**_SIGLIP, "pos_emb_height": 2, "pos_emb_width": 2},
    "step3p5_vision": _SIGLIP,
    "qwen3_vl": {**_QWEN, "num_position_embeddings": 4, "deepstack_visual_indexes": [0]},
    "deepseek_ocr2_vision": {
        "sam_config": {**_SIGLIP, "output_channels": 8, "global_attn_indexes": [0], "downsample_channels": [8, 8]},
        "encoder_config": {**_SIGLIP, "num_key_value_heads": 2},
    },
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
_OUT_WIDTH = (
    *("qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_5_moe", "glm4v_vision", "glm4v_moe_vision", "glm_ocr_vision"),
    "glm5_next_vision",
    *("granite_docling_vision", "cohere_compass_vision"),
)
# Of all classes: modules that text does not pass through.
_OUTSIDE = (
    *("vision_tower", "vision_model", "vision_embed_tokens", "vision_moe", "visual.", "vqmodel", "embed_vision"),
    *("projector", "vision_adapter", "vision_projection", "resampler_model", "image_newline", "view_separator"),
)


class InputsAlone(FromTransformers):
    """A class with fewer logits than tokens: those of the other tokens are too low to be predicted."""

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None) -> Outputs:
        """One call of the class, without a cache."""
        return {name: self._padded(value) for name, value in super().outputs(ids, token_type_ids).items()}

    def in_steps(self, ids: Sequence[int], sizes: Sequence[int]) -> NDArray[np.float32]:
        """Call the class with its own cache."""
        return self._padded(super().in_steps(ids, sizes))

    def _padded(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        tokens = self.model.get_input_embeddings().num_embeddings
        shape = (*logits.shape[:-1], tokens - logits.shape[-1])
        return np.concatenate([logits, np.full(shape, -8192, np.float32)], axis=-1)


def make_multimodal(
    name: str,
    sizes: Mapping[str, Any],
    seed: int,
    vision: str,
    text: str,
    more: Mapping[str, Any] | None = None,
    outside: Sequence[str] = (),
    **options: Any,
) -> FromTransformers:
    """Return a reference of `{name}ForConditionalGeneration` with a text model of these sizes and of type `text`.

    `vision` is the kind of its vision part, whose width is the text model's where the class has no projector. `more`
    are other keys of the config, `outside` other modules that text does not pass through.
    """
    width = {"out_hidden_size": sizes["hidden_size"]} if vision in _OUT_WIDTH else {}
    width |= {"hidden_size": sizes["hidden_size"]} if vision == "qwen2_vl" else {}
    config = getattr(transformers, f"{name}Config")(
        text_config={"model_type": text, **sizes},
        vision_config={"model_type": vision, **_VISION[vision], **width},
        tie_word_embeddings=sizes.get("tie_word_embeddings", False),
        **more or {},
    )
    return make(f"{name}ForConditionalGeneration", config, seed, outside=(*_OUTSIDE, *outside), **options)
