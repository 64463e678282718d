"""Every operator: its eager body, its shapes on the meta device, and that it gives a tensor of its own."""

from __future__ import annotations

import pytest
import torch

from archc.compiler.ops import operators as ops
from archc.compiler.tracing.registry import TRANSLATIONS

SIZES = [pytest.param(2, 3, 4, 2, id="many"), pytest.param(1, 1, 1, 1, id="ones")]  # batch, seq, heads, kv_heads


def check(operator: torch._ops.OpOverload, *arguments: object) -> None:
    torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(("batch", "seq", "heads", "kv_heads"), SIZES)
def test_bodies_agree(batch: int, seq: int, heads: int, kv_heads: int) -> None:
    width, capacity = 4, 7
    table = torch.ops.archc
    x = torch.randn(batch, seq, heads * width)
    q, k = torch.randn(batch, heads, seq, width), torch.randn(batch, kv_heads, seq, width)
    cos, cache = torch.randn(batch, seq, 2), torch.randn(batch, kv_heads, capacity, width)
    starts = torch.arange(batch)
    check(table.linear.default, x, torch.randn(5, heads * width), torch.randn(5))
    check(table.layer_norm.default, x, torch.randn(heads * width), torch.randn(heads * width), 1e-3, 1.0)
    check(table.layer_norm.default, x, None, None, 1e-3)
    check(table.swish.default, x, 1.7)
    check(table.product.default, q, torch.randn(1, heads, width, 3))
    check(table.split_heads.default, x, heads)
    check(table.merge_heads.default, q)
    check(table.rms_norm.default, x, torch.randn(heads * width), 1e-3)
    check(table.update_cache.default, cache, k, starts)
    check(table.take_positions.default, x, torch.zeros(batch, 2, dtype=torch.int64))
    mask, sinks = torch.ones(batch, 1, seq, seq).bool(), torch.randn(heads)
    check(table.attention.default, q, k, k, mask, None, 0.5, 0.0, sinks)
    check(table.attention.default, q, cache, cache, mask, None, 0.5, 0.0, sinks, True)
    check(table.select_keys.default, q, cache[:, :1], torch.randn(batch, seq, heads), mask, 2, True)
    check(table.select_blocks.default, q, cache[:, :1], mask, 2 * heads, 2, 1, 1, True)
    check(table.select_whole_blocks.default, q, cache[:, :1], mask, None, 2, 1, True)
    check(table.select_whole_blocks.default, q, cache[:, :1], mask, torch.randn(batch, seq, heads), 2, 1, True)
    check(table.rows_of_blocks.default, x, starts, 2, 1)
    check(table.mask_of_blocks.default, mask, 2)
    check(table.joint_attention.default, q, cache, mask, cache, mask, 0.5, sinks, True)
    stacks = [torch.randn(3, 5, heads * width), torch.randn(3, heads * width, 5), torch.randn(3, 5, heads * width)]
    chosen, shares = torch.ones(batch, seq, 2, dtype=torch.int64), torch.randn(batch, seq, 2)
    check(table.experts.default, x, chosen, shares, *stacks, None, None, torch.randn(3, 5), "silu", 0.5, 1.0, 1.0)
    for interleaved in (False, True):
        check(table.rotary.default, q, cos, cos, interleaved)


def test_every_operator_has_a_translation() -> None:
    names = {name for name in dir(torch.ops.archc) if not name.startswith("_")} - {"name"}
    translated = [str(operator).split(".") for operator in TRANSLATIONS]
    assert {name for namespace, name, *_ in translated if namespace == "archc"} == names


def test_a_cache_is_written_where_each_row_ends() -> None:
    cache, new = torch.zeros(2, 1, 4, 1), torch.tensor([1.0, 2.0]).expand(2, 1, 2)[..., None]
    written = ops.update_cache(cache, new, torch.tensor([0, 2]))
    assert written[:, 0, :, 0].tolist() == [[1, 2, 0, 0], [0, 0, 1, 2]]


def test_a_sink_takes_weight_and_gives_nothing() -> None:
    q, k = torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 3, 4)
    v, mask = torch.ones(1, 2, 3, 4), torch.tensor([True, True, False]).reshape(1, 1, 1, 3)
    sinks = torch.tensor([0.0, 2.0]).log()
    y = ops.attention(q, k, v, mask, None, 1.0, 0.0, sinks)
    # Two keys of weight 1 each, next to a sink of weight 0 and one of weight 2.
    assert y[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_turns_pairs_and_leaves_the_rest(interleaved: bool) -> None:
    x = torch.tensor([1.0, 0.0, 0.0, 0.0, 9.0]).reshape(1, 1, 1, 5)
    angle = torch.tensor([0.3, 0.0]).reshape(1, 1, 2)
    turned = ops.rotary(x, angle.cos(), angle.sin(), interleaved).flatten().tolist()
    partner = 1 if interleaved else 2
    wanted = [0.0] * 5
    wanted[0], wanted[partner], wanted[4] = float(angle[0, 0, 0].cos()), float(angle[0, 0, 0].sin()), 9.0
    assert turned == pytest.approx(wanted)
