"""Rotary tables against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.position.rotary import BlockRotaryTables, RotaryTables
from archc.compiler.modules.position.rotary_scaling import longrope_attention_factor


def tables(word: words.Rope, positions: list[int], head_dim: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    cos, sin = RotaryTables(word, head_dim, torch.float32)(torch.tensor([positions]))
    return cos[0], sin[0]


def test_angles_are_position_times_frequency() -> None:
    cos, sin = tables(words.Rope(theta=100.0), [0, 3])
    assert cos.tolist() == [[1.0, 1.0], pytest.approx([math.cos(3.0), math.cos(0.3)])]
    assert sin.tolist() == [[0.0, 0.0], pytest.approx([math.sin(3.0), math.sin(0.3)])]


def test_learned_numbers_are_logs_of_factors_on_frequencies() -> None:
    module = RotaryTables(words.Rope(theta=100.0, learned=True), 4, torch.float32)
    assert module.logs is not None
    module.logs.data.copy_(torch.tensor([math.log(2.0), math.log(0.5)]))
    cos, _ = module(torch.tensor([[3]]))
    assert cos[0].tolist() == [pytest.approx([math.cos(6.0), math.cos(0.15)])]


def test_only_a_fraction_rotates() -> None:
    cos, _ = tables(words.Rope(theta=100.0, fraction=0.5), [1], head_dim=8)
    assert cos.tolist() == [pytest.approx([math.cos(1.0), math.cos(0.1)])]


def test_linear_scaling_divides_positions() -> None:
    scaled = tables(words.Rope(theta=100.0, scaling=words.LinearScaling(factor=4.0)), [8])
    plain = tables(words.Rope(theta=100.0), [2])
    assert torch.allclose(scaled[0], plain[0])


def test_dynamic_scaling_begins_past_the_trained_length() -> None:
    scaling = words.DynamicScaling(factor=2.0, original_max_position_embeddings=4)
    word = words.Rope(theta=100.0, scaling=scaling)
    assert torch.allclose(tables(word, [0, 1, 2, 3])[0], tables(words.Rope(theta=100.0), [0, 1, 2, 3])[0], atol=1e-6)
    # Length 8: the base is 100 · (2·8/4 − 1)^(4/2) = 900, so the second frequency is 900^(−1/2) = 1/30.
    cos, _ = tables(word, [5, 6, 7])
    assert cos[2].tolist() == pytest.approx([math.cos(7.0), math.cos(7 / 30)], abs=1e-6)


def test_dynamic_scaling_is_of_each_row() -> None:
    scaling = words.DynamicScaling(factor=2.0, original_max_position_embeddings=4)
    table = RotaryTables(words.Rope(theta=100.0, scaling=scaling), 4, torch.float32)
    together = table(torch.tensor([[1, 2], [6, 7]]))[0]
    assert torch.equal(together[0], table(torch.tensor([[1, 2]]))[0][0])
    assert torch.equal(together[1], table(torch.tensor([[6, 7]]))[0][0])


LONGROPE = words.LongRopeScaling(
    long_factor=(2.0, 4.0), short_factor=(1.0, 1.5), attention_factor=0.7, original_max_position_embeddings=4
)


def test_longrope_has_other_frequencies_past_the_trained_length_and_an_attention_factor() -> None:
    word = words.Rope(theta=100.0, scaling=LONGROPE)
    cos, sin = tables(word, [0, 3])
    assert cos.tolist() == [[pytest.approx(0.7)] * 2, pytest.approx([0.7 * math.cos(3), 0.7 * math.cos(0.3 / 1.5)])]
    assert sin[1].tolist() == pytest.approx([0.7 * math.sin(3), 0.7 * math.sin(0.3 / 1.5)])
    cos, _ = tables(word, [0, 4])
    assert cos[1].tolist() == pytest.approx([0.7 * math.cos(4 / 2), 0.7 * math.cos(0.4 / 4)])
    factor = LONGROPE.model_copy(update={"attention_factor": None, "factor": 16.0})
    cos, _ = tables(words.Rope(theta=100.0, scaling=factor), [0])
    assert cos[0].tolist() == pytest.approx([longrope_attention_factor(factor)] * 2)


def test_the_ntk_scale_of_a_prompt_is_set_by_the_first_call_and_then_constant() -> None:
    table = RotaryTables(words.Rope(theta=100.0, scaling=words.PromptNtkScaling(trained=4)), 4, torch.float32)
    assert table.has_ntk_state
    positions = torch.tensor([[3], [4], [15]])
    # 2^ceil(log2(length / 4) + 1) − 1 for 4, 5 and 16 tokens.
    scale = table.prompt_ntk_scale(positions, None, None)
    assert scale.tolist() == [[1], [3], [7]]
    past, starts = torch.tensor([[5.0], [5.0], [5.0]]), torch.tensor([0, 1, 0])
    assert table.prompt_ntk_scale(positions, past, starts).tolist() == [[1], [5], [7]]
    # The base is 100 · 3^(4/2) = 900.
    cos, _ = table(torch.tensor([[2]]), torch.tensor([[3.0]]))
    assert cos[0, 0].tolist() == pytest.approx([math.cos(2), math.cos(2 / 30)])


SCALINGS = {
    "none": words.NoScaling(),
    "dynamic": words.DynamicScaling(factor=2.0, original_max_position_embeddings=4),
    "yarn": words.YarnScaling(factor=4.0, original_max_position_embeddings=64),
    "longrope": LONGROPE,
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scaling", SCALINGS)
def test_tables_are_computed_in_float32_and_rounded_to_the_models_dtype(scaling: str, dtype: torch.dtype) -> None:
    word, positions = words.Rope(theta=100.0, scaling=SCALINGS[scaling]), torch.tensor([[0, 3, 4099]])
    for half, whole in zip(
        RotaryTables(word, 4, dtype)(positions), RotaryTables(word, 4, torch.float32)(positions), strict=True
    ):
        assert (half.dtype, whole.dtype) == (dtype, torch.float32)
        assert torch.equal(half, whole.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_tables_of_blocks_are_computed_in_float32_and_rounded_to_the_models_dtype(dtype: torch.dtype) -> None:
    word, positions = words.BlockRope(theta=100.0), torch.tensor([[[0, 3, 4099], [0, 1, 2]]])
    for half, whole in zip(
        BlockRotaryTables(word, 8, dtype)(positions), BlockRotaryTables(word, 8, torch.float32)(positions), strict=True
    ):
        assert (half.dtype, half.shape) == (dtype, (1, 2, 3, 2))
        assert torch.equal(half, whole.to(dtype))


def test_backward_rotation() -> None:
    cos, sin = tables(words.Rope(theta=100.0, reverse=True), [3])
    assert cos.tolist() == [pytest.approx([math.cos(3.0), math.cos(0.3)])]
    assert sin.tolist() == [pytest.approx([-math.sin(3.0), -math.sin(0.3)])]
