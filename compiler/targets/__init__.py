"""What each target wants of the portable graph: passes, dtypes, and the operators that it may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from archc.compiler.passes import Pass
from archc.compiler.passes.attention.blocked_attention import block_attention
from archc.compiler.passes.attention.grouped_attention import group_attention
from archc.compiler.passes.attention.half_rotary import half_rotary
from archc.compiler.passes.attention.latent_forms import choose_latent_form
from archc.compiler.passes.attention.pad_heads import pad_heads
from archc.compiler.passes.attention.plain_attention import plain_attention
from archc.compiler.passes.attention.primitive_attention import primitive_attention
from archc.compiler.passes.clean import clean
from archc.compiler.passes.experts.batched_experts import batch_experts
from archc.compiler.passes.experts.routed_experts import route_experts
from archc.compiler.passes.experts.scanned_experts import scan_experts
from archc.compiler.passes.fuse_norms import fuse_norms, norm_fusion
from archc.compiler.passes.fuse_swish import fuse_swish
from archc.compiler.passes.join_branches import join_branches
from archc.compiler.passes.products.dequantized_weights import dequantized_weights
from archc.compiler.passes.products.fold_weights import fold_weights
from archc.compiler.passes.products.join_products import join_products
from archc.compiler.passes.products.product_forms import choose_product_form
from archc.compiler.passes.products.quantize import CUDA as CUDA_KERNELS
from archc.compiler.passes.products.quantize import quantize
from archc.compiler.passes.products.rows_as_stored import rows_as_stored
from archc.compiler.passes.take_early import take_early


@dataclass(frozen=True)
class Target:
    """A place where a plan runs: passes in order, the dtypes that its kernels take (the first by default), whether it
    wants a serialized engine, whether its graphs find the likeliest token themselves (`chooses`), whether caches may be
    rings and are read whole, how weights may be stored in fewer bits, beside which dtypes, and passes that come last,
    once caches have their form."""

    name: str
    description: str
    passes: tuple[Pass, ...]
    dtypes: tuple[str, ...]
    folder: bool = False
    engine: bool = False
    chooses: bool = False
    rings: bool = False
    whole_caches: bool = False
    quantizations: Mapping[str, tuple[Pass, ...]] = field(default_factory=dict)
    quantized_dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32")
    caches: tuple[str, ...] = ()
    last_passes: tuple[Pass, ...] = ()

    def passes_for(self, quantization: str | None) -> tuple[Pass, ...]:
        """The passes in order, with those that store weights in fewer bits."""
        return (*self.passes, *(() if quantization is None else self.quantizations[quantization]))


PORTABLE: tuple[Pass, ...] = (scan_experts, fold_weights, clean)
TENSORRT: tuple[Pass, ...] = (
    batch_experts,
    fold_weights,
    plain_attention,
    primitive_attention,
    pad_heads,
    half_rotary,
    clean,
)
CUDA: tuple[Pass, ...] = (
    scan_experts,
    fold_weights,
    norm_fusion(ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16),
    clean,
)
DEQUANTIZED: Mapping[str, tuple[Pass, ...]] = {
    "int8": (dequantized_weights("int8"),),
    "int4": (dequantized_weights("int4"),),
    "fp8": (dequantized_weights("fp8"),),
}


def _tensorrt(name: str, description: str) -> Target:
    """Both packages take the same graphs."""
    return Target(
        name=name,
        description=description,
        passes=TENSORRT,
        dtypes=("float16", "bfloat16", "float32"),
        engine=True,
        chooses=True,
        quantizations=DEQUANTIZED,
    )


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="ort-cpu",
            description="ONNX Runtime on the CPU",
            passes=(
                take_early,
                route_experts,
                fold_weights,
                choose_latent_form,
                group_attention,
                fuse_norms,
                fuse_swish,
                clean,
            ),
            dtypes=("float32", "float16"),
            rings=True,
            whole_caches=True,
            quantizations={
                "int8": (quantize(8),),
                "int4": (quantize(4), join_products, choose_product_form, join_branches),
            },
            quantized_dtypes=("float32",),
            caches=("int8",),
            last_passes=(rows_as_stored, join_products, block_attention),
        ),
        Target(
            name="ort-cuda",
            description="ONNX Runtime on NVIDIA GPUs",
            passes=CUDA,
            dtypes=("float16", "bfloat16", "float32"),
            chooses=True,
            quantizations={"int8": (quantize(8, CUDA_KERNELS),), "int4": (quantize(4, CUDA_KERNELS),)},
        ),
        Target(
            name="onnx",
            description="a folder with the portable ONNX graph and its weights, for any runtime",
            passes=PORTABLE,
            dtypes=("float32", "float16", "bfloat16"),
            folder=True,
        ),
        _tensorrt("tensorrt", "TensorRT 11, built on the GPU that will run it"),
        _tensorrt("tensorrt-rtx", "TensorRT for RTX, built on any machine for RTX GPUs"),
    )
}
