"""Text towers of SigLIP and SigLIP 2: transformers' SiglipTextModel and Siglip2TextModel."""

from __future__ import annotations

from functools import partial

from transformers import Siglip2TextConfig, SiglipTextConfig

from tests.reference.clip_text import Encoder, clip

CASES = (
    Encoder("siglip", partial(clip, "SiglipTextModel", 1, SiglipTextConfig, 3.0, projection_size=22)),
    Encoder("siglip-2", partial(clip, "Siglip2TextModel", 2, Siglip2TextConfig, hidden_act="gelu")),
)
