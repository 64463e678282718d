"""Splitting channels into heads without moving the axis of positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import op
from archc.compiler.ops.registry import translates


@custom_op("archc::part_heads", mutates_args=())
def part_heads(x_BSM: Tensor, heads: int) -> Tensor:
    """[B, S, heads · D] → [B, S, heads, D]."""
    return x_BSM.unflatten(-1, (heads, -1)).clone()


@part_heads.register_fake
def _(x_BSM: Tensor, heads: int) -> Tensor:
    return x_BSM.new_empty(*x_BSM.shape[:2], heads, x_BSM.shape[2] // heads)


@custom_op("archc::join_heads", mutates_args=())
def join_heads(x_BSHD: Tensor) -> Tensor:
    """[B, S, H, D] → [B, S, H · D]."""
    return x_BSHD.flatten(2).clone()


@join_heads.register_fake
def _(x_BSHD: Tensor) -> Tensor:
    batch, length, heads, width = x_BSHD.shape
    return x_BSHD.new_empty(batch, length, heads * width)


@translates(torch.ops.archc.part_heads.default)
def _part_heads(x: Any, heads: int) -> Any:
    return op.Reshape(x, op.ints(0, 0, heads, -1))


@translates(torch.ops.archc.join_heads.default)
def _join_heads(x: Any) -> Any:
    return op.Reshape(x, op.ints(0, 0, int(x.shape[2]) * int(x.shape[3])))
