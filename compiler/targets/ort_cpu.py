"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from archc.compiler.lowerings.activations import quick_gelu
from archc.compiler.lowerings.attention.blocks import QueryBlocks
from archc.compiler.lowerings.attention.caches import FloatCaches
from archc.compiler.lowerings.attention.grouped import GroupedAttention
from archc.compiler.lowerings.attention.int8_caches import Int8Caches
from archc.compiler.lowerings.attention.joint import JointAttention
from archc.compiler.lowerings.attention.latent import GroupedLatentAttention
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.compiler.lowerings.attention.selected import Selections
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.lowerings.experts.routed import routed_experts
from archc.compiler.lowerings.linear import stored_rows
from archc.compiler.lowerings.linear.quantized import CPU, QuantizedWeights
from archc.compiler.lowerings.linear.two_forms import Int4Products
from archc.compiler.passes.clean import Clean, DropInnerAxisNames
from archc.compiler.passes.fuse_norms import FuseNorms
from archc.compiler.passes.gather_positions_early import GatherPositionsEarly
from archc.compiler.passes.join_projections import JoinProjections
from archc.compiler.passes.merge_ifs import MergeIfs
from archc.compiler.passes.pack_groups import PackGroups
from archc.compiler.passes.read_full_caches import ReadFullCaches
from archc.compiler.passes.use_rings import UseRings
from archc.compiler.targets.common import COMMON
from archc.compiler.targets.target import Choices, Target


def passes(choices: Choices) -> Sequence[ir.passes.PassBase]:
    """Return the passes of a build."""
    blocks, masks, selections = QueryBlocks(), AdditiveMasks(), Selections()
    selected = selections.by_mask
    caches = Int8Caches(selections) if choices.cache == "int8" else FloatCaches()
    lowerings: dict[str, Lowering] = {
        **COMMON,
        "Attention": GroupedAttention(caches, blocks, masks, selected),
        "Experts": routed_experts,
        "JointAttention": JointAttention(blocks, masks, selected),
        "LatentAttention": GroupedLatentAttention(caches, blocks, masks, selected),
        "Linear": stored_rows.linear,
        "SelectBlocks": selections.blocks,
        "SelectKeys": selections.keys,
        "UpdateCache": caches.update,
    }
    standard: dict[str, Lowering] = {"Swish": quick_gelu}
    if choices.quantization is not None:
        int4 = choices.quantization == "int4"
        weights = (
            Int4Products(stored_rows.linear, find_groups=choices.find_groups)
            if int4
            else QuantizedWeights(8, CPU, stored_rows.linear)
        )
        lowerings["Linear"], standard["Gather"] = weights.linear, weights.lookup
    return (
        UseRings(choices.rings),
        GatherPositionsEarly(),
        JoinProjections(),
        ReadFullCaches(),
        *([PackGroups()] if choices.packed else []),
        Lower(lowerings, standard),
        FuseNorms(ir.DataType.FLOAT),
        Clean(),
        MergeIfs(),
        DropInnerAxisNames(),
    )


TARGET = Target(
    name="ort-cpu",
    description="ONNX Runtime on the CPU",
    passes=passes,
    dtypes=("float32", "float16"),
    quantizations=("int8", "int4"),
    quantized_dtypes=("float32",),
    caches=("int8",),
    packs=True,
)
