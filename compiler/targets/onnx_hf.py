"""The layout of Optimum's exports: growing caches, `attention_mask`, logits of every token, operators of opset 20."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from archc.compiler.lowerings.activations import swish
from archc.compiler.lowerings.attention.portable import StandardAttention
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.lowerings.experts.scanned import scanned_experts
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.linear.quantized import SHARED, QuantizedWeights
from archc.compiler.lowerings.older import OlderOpset, rms_norm, rotary
from archc.compiler.passes.clean import Clean, DropInnerAxisNames
from archc.compiler.passes.cross_branch import choose, join_cross_projections
from archc.compiler.passes.growing_caches import GrowingCaches
from archc.compiler.passes.read_before_write import ReadBeforeWrite
from archc.compiler.targets.common import COMMON
from archc.compiler.targets.target import Choices, Target
from archc.compiler.weights.formats.format import Bits


def passes(choices: Choices) -> Sequence[ir.passes.PassBase]:
    """Return the passes of a build."""
    attention = StandardAttention(fused=False)
    lowerings: dict[str, Lowering] = {
        **COMMON,
        "Attention": attention.attention,
        "Choose": choose,
        "Experts": scanned_experts,
        "JointAttention": attention.joint,
        "LatentAttention": attention.latent,
        "Linear": portable.linear,
    }
    standard: dict[str, Lowering] = {"RMSNormalization": rms_norm, "RotaryEmbedding": rotary, "Swish": swish}
    if choices.quantization is not None:
        bits: Bits = 8 if choices.quantization == "int8" else 4
        weights = QuantizedWeights(bits, SHARED, portable.linear, choices.find_groups)
        lowerings["Linear"], standard["Gather"] = weights.linear, weights.lookup
    return (
        GrowingCaches(choices.fixed_names, choices.prefix),
        Lower(lowerings, standard),
        Clean(),
        OlderOpset(),
        ReadBeforeWrite(),
        DropInnerAxisNames(),
    )


TARGET = Target(
    name="onnx-hf",
    description="a folder in the layout of Optimum, for other runtimes",
    passes=passes,
    dtypes=("float32", "float16"),
    output="optimum",
    arrange=join_cross_projections,
    quantizations=("int8", "int4"),
    quantized_dtypes=("float32",),
)
