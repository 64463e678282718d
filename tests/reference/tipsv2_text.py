"""Text towers of TIPSv2: transformers' Tipsv2TextModel."""

from __future__ import annotations

from functools import partial

from transformers import Tipsv2TextConfig

from tests.reference.clip_text import Encoder, clip

CASES = (
    Encoder("scaled", partial(clip, "Tipsv2TextModel", 1, Tipsv2TextConfig)),
    Encoder("unscaled", partial(clip, "Tipsv2TextModel", 2, Tipsv2TextConfig, scale_sqrt_depth=False, vocab_size=97)),
)
