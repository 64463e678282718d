"""Tensors of a text model among those of a multimodal one."""

from __future__ import annotations

import pytest

from archc.archspec.weights.names import spell_part

EXPECTED = ["model.embed.weight", "model.layers.0.q.weight", "model.layers.1.q.weight", "lm_head.weight"]
VISION = ["vision.encoder.layers.0.q.weight", "visual.blocks.0.weight", "projector.weight"]


@pytest.mark.parametrize(
    ("body", "head"),
    [
        ("language_model.model.", "language_model.lm_head.weight"),
        ("model.language_model.", "lm_head.weight"),
        ("thinker.model.", "thinker.lm_head.weight"),
        ("model.", "lm_head.weight"),
        ("", "lm_head.weight"),
    ],
)
def test_any_prefix(body: str, head: str) -> None:
    stored = {body + name.removeprefix("model."): name for name in EXPECTED[:-1]} | {head: "lm_head.weight"}
    others = [*VISION, "talker.model.layers.0.q.weight", "talker.lm_head.weight"]
    assert dict(spell_part([*stored, *others], (), EXPECTED)) == stored


def test_an_unexpected_tensor_of_the_text_model_stays() -> None:
    names = ["lm.model.layers.0.q.weight", "lm.model.layers.0.gate.weight", *VISION]
    assert spell_part(names, (), EXPECTED) == [
        ("lm.model.layers.0.gate.weight", "model.layers.0.gate.weight"),
        ("lm.model.layers.0.q.weight", "model.layers.0.q.weight"),
    ]


def test_renamed_endings() -> None:
    assert spell_part(["lm.model.layers.0.q.gamma"], [("gamma", "weight")], EXPECTED) == [
        ("lm.model.layers.0.q.gamma", "model.layers.0.q.weight")
    ]
