"""The kernels of ONNX Runtime's CUDA provider, and a check that it has one for each node of a graph.

The table data/cuda_kernels.json.gz comes from ONNX Runtime's own list of kernels:
`python -m tests.families.cuda_kernels KERNELS.json` trims such a list to the operators that archc's graphs may have.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import onnx
from onnx import GraphProto, NodeProto, TensorProto

from archc.proof.graph_rules import ALLOWED, OPSET

DATA = Path(__file__).parent / "data" / "cuda_kernels.json.gz"
CONTRIBUTED = (
    "SkipSimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "GroupQueryAttention",
    "MatMulNBits",
    "GatherBlockQuantized",
)
_NO_END = 2**31 - 1
# Operators that need no kernel on the device.
WITHOUT_KERNEL = {"Constant": "becomes an initializer when the graph is loaded"}
_NAMES = {
    TensorProto.FLOAT: "float",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "double",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
    TensorProto.BOOL: "bool",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
}
Kernels = dict[str, list[tuple[tuple[int, int], dict[str, list[str]]]]]


@cache
def kernels() -> Kernels:
    """Return versions and types of every kernel, by domain:operator."""
    table: Kernels = json.loads(gzip.decompress(DATA.read_bytes()))
    return table


def check_kernels(graph: bytes) -> None:
    """Assert that the CUDA provider has a kernel for every node of a graph and the types of its inputs."""
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(graph))
    missing = sorted(set(_missing(model.graph, {})))
    assert missing == [], f"no CUDA kernel: {', '.join(missing)}"


def _missing(graph: GraphProto, outer: dict[str, int]) -> Iterator[str]:
    types = outer | {item.name: item.data_type for item in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    for node in graph.node:
        known = all(types.get(name, 0) for name in node.input if name)
        if node.op_type not in WITHOUT_KERNEL and not (known and _has_kernel(node, types)):
            dtypes = ", ".join(_NAMES.get(types.get(name, 0), "?") for name in node.input if name)
            yield f"{node.op_type}({dtypes})"
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _missing(attribute.g, types)


def _has_kernel(node: NodeProto, types: dict[str, int]) -> bool:
    if node.domain == "com.microsoft":
        # All its floating-point tensors have one type; a kernel fixes the types of its integers.
        (kind,) = {_NAMES[types[name]] for name in node.input if types.get(name, 0) in _FLOATS}
        integers = {_NAMES[types[name]] for name in node.input if types.get(name, 0) not in (0, *_FLOATS)}
        return any(
            {kind, *integers} <= {item for kinds in constraints.values() for item in kinds}
            for _, constraints in kernels().get(f"{node.domain}:{node.op_type}", [])
        )
    schema = onnx.defs.get_schema(node.op_type, OPSET)
    dtypes: dict[str, str] = {}
    for formals, names in ((schema.inputs, node.input), (schema.outputs, node.output)):
        for index, name in enumerate(names):
            formal = formals[min(index, len(formals) - 1)]
            if name and types.get(name, 0):
                # A kernel constrains a type variable of the schema, or one tensor.
                dtypes[formal.type_str] = dtypes[formal.name] = _NAMES[types[name]]
    if node.op_type == "Scan":
        dtypes = {}  # accepts every type, and its body is checked
    for (first, last), constraints in kernels().get(f"ai.onnx:{node.op_type}", []):
        if first != schema.since_version and (last == _NO_END or not first <= schema.since_version <= last):
            continue
        if all(dtypes[name] in kinds for name, kinds in constraints.items() if name in dtypes):
            return True
    return False


_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def main(arguments: list[str]) -> None:
    """Trim a list of kernels to the CUDA provider's, and to operators and types that archc uses."""
    (source,) = arguments
    every = json.loads(Path(source).read_text("utf-8"))["CUDAExecutionProvider"]
    names = [*(f"ai.onnx:{name}" for name in sorted(ALLOWED)), *(f"com.microsoft:{name}" for name in CONTRIBUTED)]
    known = set(_NAMES.values())
    trimmed = {
        name: [
            (versions, {key: [kind for kind in kinds if kind in known] for key, kinds in constraints.items()})
            for versions, constraints in every[name]
            if all(known & set(kinds) for kinds in constraints.values())
        ]
        for name in names
        if name in every
    }
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(versions)}" for name, versions in trimmed.items())
    DATA.write_bytes(gzip.compress(f"{{\n{lines}\n}}\n".encode(), 9, mtime=0))


if __name__ == "__main__":
    main(sys.argv[1:])
