"""The layout of Optimum's exports: growing caches, `attention_mask`, logits of every token, operators of opset 20."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from archc.compiler.lowerings.activations import swish
from archc.compiler.lowerings.attention.selection import select_blocks, select_keys
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.lowerings.experts.scanned import scanned_experts
from archc.compiler.lowerings.heads import split_heads, take_positions
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.norm import standard_norm
from archc.compiler.lowerings.older import OlderOpset, WrittenOutAttention, rms_norm, rotary
from archc.compiler.passes.clean import Clean, DropInnerAxisNames
from archc.compiler.passes.growing_caches import GrowingCaches
from archc.compiler.targets.target import Choices, Target


def passes(choices: Choices) -> Sequence[ir.passes.PassBase]:
    """Return the passes of a build."""
    attention = WrittenOutAttention()
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
    }
    standard: dict[str, Lowering] = {"RMSNormalization": rms_norm, "RotaryEmbedding": rotary, "Swish": swish}
    return (GrowingCaches(), Lower(lowerings, standard), Clean(), OlderOpset(), DropInnerAxisNames())


TARGET = Target(
    name="onnx-hf",
    description="a folder in the layout of Optimum, for other runtimes",
    passes=passes,
    dtypes=("float32", "float16"),
    output="optimum",
)
