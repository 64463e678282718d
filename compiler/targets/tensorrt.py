"""TensorRT and TensorRT for RTX: both packages build the same graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import onnx_ir as ir

from archc.compiler.lowerings.activations import swish
from archc.compiler.lowerings.attention.portable import CACHES
from archc.compiler.lowerings.attention.tensorrt import TensorRtAttention, rotary
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.lowerings.experts.batched import batched_experts
from archc.compiler.lowerings.linear import portable
from archc.compiler.lowerings.linear.dequantized import DequantizedWeights
from archc.compiler.passes.clean import Clean, DropInnerAxisNames
from archc.compiler.passes.fixed_capacity import FixedCapacity
from archc.compiler.passes.greedy_output import GreedyOutput
from archc.compiler.passes.separate_products import SeparateProducts
from archc.compiler.targets.common import COMMON
from archc.compiler.targets.target import Choices, Target
from archc.compiler.weights.formats.symmetric import NumberFormat


def passes(choices: Choices) -> Sequence[ir.passes.PassBase]:
    """Return the passes of a build."""
    return (
        *lowering(choices),
        *((GreedyOutput(),) if choices.decodes else ()),
        FixedCapacity(choices.slots),
        DropInnerAxisNames(),
    )


def lowering(choices: Choices) -> Sequence[ir.passes.PassBase]:
    """Return the passes that leave inputs and outputs as they are."""
    attention = TensorRtAttention()
    lowerings: dict[str, Lowering] = {
        **COMMON,
        "Attention": attention.attention,
        "Experts": batched_experts,
        "JointAttention": attention.joint,
        "LatentAttention": attention.latent,
        "Linear": portable.linear,
        "UpdateCache": CACHES.update,
    }
    standard: dict[str, Lowering] = {"RotaryEmbedding": rotary, "Swish": swish}
    if choices.quantization is not None:
        weights = DequantizedWeights(cast(NumberFormat, choices.quantization))
        lowerings["Linear"], standard["Gather"] = weights.linear, weights.lookup
    return (
        Lower(lowerings, standard),
        Clean(),
        *((SeparateProducts(),) if choices.quantization in ("int8", "fp8") else ()),
    )


def _target(name: str, description: str) -> Target:
    return Target(
        name=name,
        description=description,
        passes=passes,
        dtypes=("float16", "bfloat16", "float32"),
        output="engine",
        quantizations=("int8", "int4", "fp8"),
    )


TARGETS = (
    _target("tensorrt", "TensorRT 11, built on the GPU that will run it"),
    _target("tensorrt-rtx", "TensorRT for RTX, built on any machine for RTX GPUs"),
)
