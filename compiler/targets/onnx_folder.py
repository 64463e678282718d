"""The portable graph: standard operators that every runtime has, state in place, nothing implied."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from archc.compiler.lowerings.activations import swish
from archc.compiler.lowerings.attention.portable import CACHES, StandardAttention
from archc.compiler.lowerings.attention.selection import select_blocks, select_keys
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.lowerings.experts.scanned import scanned_experts
from archc.compiler.lowerings.heads import split_heads, take_positions
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.norm import standard_norm
from archc.compiler.passes.clean import Clean, DropInnerAxisNames
from archc.compiler.targets.target import Choices, Target


def passes(choices: Choices) -> Sequence[ir.passes.PassBase]:
    """Return the passes of a build."""
    attention = StandardAttention()
    lowerings: dict[str, Lowering] = {
        "Attention": attention.attention,
        "Experts": scanned_experts,
        "LatentAttention": attention.latent,
        "Linear": portable.linear,
        "Norm": standard_norm,
        "SelectBlocks": select_blocks,
        "SelectKeys": select_keys,
        "SplitHeads": split_heads,
        "TakePositions": take_positions,
        "UpdateCache": CACHES.update,
    }
    return (Lower(lowerings, standard={"Swish": swish}), Clean(), DropInnerAxisNames())


TARGET = Target(
    name="onnx",
    description="a folder with the portable ONNX graph and its weights, for any runtime",
    passes=passes,
    dtypes=("float32", "float16", "bfloat16"),
    output="folder",
)
