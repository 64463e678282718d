"""ChatGLM3 and the GLM-4 9B of the same file format: ChatGLM2 with a stretched rotary base."""

from __future__ import annotations

from functools import partial

from archc.proof.case import Case
from tests.reference.chatglm2 import ChatGlm2

LATER = "ChatGLMForConditionalGeneration"

CASES = (
    Case("6b", partial(ChatGlm2, 11, stretch_base=True), spec="chatglm3"),
    Case("32k", partial(ChatGlm2, 12, stretch_base=True, ratio=50, architecture=LATER), spec="chatglm3"),
    # Its files say some things twice.
    Case(
        "glm-4-9b",
        partial(ChatGlm2, 13, stretch_base=True, ratio=0.02, groups=3, vocab_size=151, num_hidden_layers=3),
        length=31,
        spec="chatglm3",
    ),
)
