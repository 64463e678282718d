"""The portable graph: standard operators that every runtime has, state in place, nothing implied."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from archc.compiler.lowerings.activations import swish
from archc.compiler.lowerings.attention.portable import CACHES, StandardAttention
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.lowerings.experts.scanned import scanned_experts
from archc.compiler.lowerings.linear import portable
from archc.compiler.passes.clean import Clean, DropInnerAxisNames
from archc.compiler.targets.common import COMMON
from archc.compiler.targets.target import Choices, Target


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
    return (Lower(lowerings, standard={"Swish": swish}), Clean(), DropInnerAxisNames())


TARGET = Target(
    name="onnx",
    description="a folder with the portable ONNX graph and its weights, for any runtime",
    passes=passes,
    dtypes=("float32", "float16", "bfloat16"),
    output="folder",
)
