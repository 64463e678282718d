"""The lowerings that all targets have in common."""

from __future__ import annotations

from collections.abc import Mapping

from archc.compiler.lowerings.attention.key_blocks import mask_of_blocks, rows_of_blocks
from archc.compiler.lowerings.attention.selection import select_blocks, select_keys
from archc.compiler.lowerings.attention.whole_blocks import select_whole_blocks
from archc.compiler.lowerings.driver import Lowering
from archc.compiler.lowerings.heads import split_heads, take_positions
from archc.compiler.lowerings.norm import standard_norm

COMMON: Mapping[str, Lowering] = {
    "MaskOfBlocks": mask_of_blocks,
    "Norm": standard_norm,
    "RowsOfBlocks": rows_of_blocks,
    "SelectBlocks": select_blocks,
    "SelectKeys": select_keys,
    "SelectWholeBlocks": select_whole_blocks,
    "SplitHeads": split_heads,
    "TakePositions": take_positions,
}
"""Lowerings of the domain `archc` by operator type; a target adds those that depend on its runtime."""
