"""ONNX Runtime on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from archc.compiler.lowerings.activations import swish
from archc.compiler.lowerings.attention.portable import CACHES, StandardAttention
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.lowerings.experts.scanned import scanned_experts
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.linear.quantized import CUDA, QuantizedWeights
from archc.compiler.passes.clean import Clean, DropInnerAxisNames
from archc.compiler.passes.fuse_norms import FuseNorms
from archc.compiler.passes.greedy_output import GreedyOutput
from archc.compiler.targets.common import COMMON
from archc.compiler.targets.target import Choices, Target
from archc.compiler.weights.formats.format import Bits


def passes(choices: Choices) -> Sequence[ir.passes.PassBase]:
    """Return the passes of a build."""
    attention = StandardAttention()
    lowerings: dict[str, Lowering] = {
        **COMMON,
        "Attention": attention.attention,
        "Experts": scanned_experts,
        "JointAttention": attention.joint,
        "LatentAttention": attention.latent,
        "Linear": portable.linear,
        "UpdateCache": CACHES.update,
    }
    standard: dict[str, Lowering] = {"Swish": swish}
    if choices.quantization is not None:
        bits: Bits = 8 if choices.quantization == "int8" else 4
        weights = QuantizedWeights(bits, CUDA, portable.linear, choices.find_groups)
        lowerings["Linear"], standard["Gather"] = weights.linear, weights.lookup
    return (
        Lower(lowerings, standard),
        FuseNorms(ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16),
        *((GreedyOutput(),) if choices.decodes else ()),
        Clean(),
        DropInnerAxisNames(),
    )


TARGET = Target(
    name="ort-cuda",
    description="ONNX Runtime on NVIDIA GPUs",
    passes=passes,
    dtypes=("float16", "bfloat16", "float32"),
    quantizations=("int8", "int4"),
)
