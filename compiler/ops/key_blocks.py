"""Blocks of tokens whose keys are compressed, and attention to compressed keys, as torch operators.

Shape suffixes as in `operators`, and: X width of a row, J blocks of a call, L rows up to the end of a block, N whole
blocks of T keys and one more, E slots of a cache of compressed keys.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from archc.compiler.graph.builder import op
from archc.compiler.graph.domains import ARCHC
from archc.compiler.ops.operators import attention
from archc.compiler.ops.registry import introduces, translates


@custom_op("archc::rows_of_blocks", mutates_args=())
def rows_of_blocks(x_BTX: Tensor, starts_B: Tensor, block: int, count: int) -> Tensor:
    """Return the `count` rows up to the end of each block of positions that ends in a call, [B, J, L, X].

    x has the count − 1 rows before the call and its S rows; row b of the call begins at position starts[b]. No more
    than J = S // block + 1 blocks end in the call: those after the last one hold any rows.
    """
    _, total, width = x_BTX.shape
    blocks = (total - count + 1) // block + 1
    first_B = block - 1 - starts_B % block
    places_JL = block * torch.arange(blocks)[:, None] + torch.arange(count)
    places_BJL = (first_B[:, None, None] + places_JL).clamp(max=total - 1)
    rows = x_BTX.gather(1, places_BJL.flatten(1)[..., None].expand(-1, -1, width))
    return rows.unflatten(1, (blocks, count))


@rows_of_blocks.register_fake
def _(x_BTX: Tensor, starts_B: Tensor, block: int, count: int) -> Tensor:
    batch, total, width = x_BTX.shape
    return x_BTX.new_empty(batch, (total - count + 1) // block + 1, count, width)


@introduces(torch.ops.archc.rows_of_blocks.default, axis=1)
def _blocks_of_a_call(x: Any, starts: Any, block: int, count: int) -> str:
    return f"seq // {block} + 1"


@translates(torch.ops.archc.rows_of_blocks.default)
def _rows_of_blocks(x: Any, starts: Any, block: int, count: int) -> Any:
    return op.RowsOfBlocks(x, starts, block=block, count=count, domain=ARCHC)


@custom_op("archc::mask_of_blocks", mutates_args=())
def mask_of_blocks(mask_B1ST: Tensor, block: int) -> Tensor:
    """Return the whole blocks of keys whose last key a mask has, [B, 1, S, N]; the one after them is hidden."""
    return torch.nn.functional.pad(mask_B1ST[..., block - 1 :: block], (0, 1))


@mask_of_blocks.register_fake
def _(mask_B1ST: Tensor, block: int) -> Tensor:
    return mask_B1ST.new_empty(*mask_B1ST.shape[:3], mask_B1ST.shape[3] // block + 1)


@introduces(torch.ops.archc.mask_of_blocks.default, axis=3)
def _blocks_of_keys(mask: Any, block: int) -> str:
    return f"total // {block} + 1"


@translates(torch.ops.archc.mask_of_blocks.default)
def _mask_of_blocks(mask: Any, block: int) -> Any:
    return op.MaskOfBlocks(mask, block=block, domain=ARCHC)


@custom_op("archc::joint_attention", mutates_args=())
def joint_attention(
    q_BHSD: Tensor,
    k_BKCD: Tensor,
    mask_B1ST: Tensor,
    compressed_BKED: Tensor,
    blocks_B1SN: Tensor,
    scale: float,
    sinks_H: Tensor | None = None,
    cached: bool = False,
) -> Tensor:
    """Return attention to keys and to compressed keys in one softmax, [B, H, S, D]; all keys are their own values.

    The masks are of the first T keys and of the first N compressed ones; with `cached`, T may be less than C.
    """
    keys = k_BKCD[:, :, : mask_B1ST.shape[-1]], compressed_BKED[:, :, : blocks_B1SN.shape[-1]]
    both, mask = torch.cat(keys, dim=2), torch.cat((mask_B1ST, blocks_B1SN), dim=3)
    y_BHSD: Tensor = attention(q_BHSD, both, both, mask, None, scale, 0.0, sinks_H)
    return y_BHSD


@joint_attention.register_fake
def _(q_BHSD: Tensor, *_: object) -> Tensor:
    return torch.empty_like(q_BHSD)


@translates(torch.ops.archc.joint_attention.default)
def _joint_attention(
    q: Any, k: Any, mask: Any, compressed: Any, blocks: Any, scale: float, sinks: Any = None, cached: bool = False
) -> Any:
    inputs = (q, k, mask, compressed, blocks, sinks)
    return op.JointAttention(*inputs, scale=scale, cached=int(cached), domain=ARCHC)
