"""Small graphs for the tests of lowerings and passes, and their results in ONNX Runtime."""

from __future__ import annotations


def attention(heads: int, kv_heads: int, width: int, scale: float, mask: ir.DataType) -> ir.Model:
    """One Attention node as the compiler writes it: a mask, a scale, no flag of causality."""
    inputs = [
        value("q", ir.DataType.FLOAT, "batch", heads, "seq", width),
        value("k", ir.DataType.FLOAT, "batch", kv_heads, "total", width),
        value("v", ir.DataType.FLOAT, "batch", kv_heads, "total", width),
        value("mask", mask, "batch", 1 if mask == ir.DataType.BOOL else heads, "seq", "total"),
    ]
    attributes = {
        "scale": ir.AttrFloat32("scale", scale),
        "is_causal": ir.AttrInt64("is_causal", 0),
        "softmax_precision": ir.AttrInt64("softmax_precision", 1),
    }
    node = ir.Node("", "Attention", inputs, attributes.values(), num_outputs=1, name="attention")
    output = node.outputs[0]
    output.name, output.type = "y", ir.TensorType(ir.DataType.FLOAT)
    output.shape = ir.Shape(["batch", heads, "seq", width])
    return model(inputs, [node], [output])


def attention_feeds(heads: int, kv_heads: int, width: int, mask: ir.DataType, seq: int = 3, total: int = 7) -> Arrays:
    """Random queries, keys and values; a causal mask, of booleans or of slopes over the key's position."""
    random = np.random.default_rng(heads * 100 + kv_heads)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    seen = np.arange(total) <= np.arange(seq)[:, None] + total - seq
    feeds = {
        "q": normal(2, heads, seq, width),
        "k": normal(2, kv_heads, total, width),
        "v": normal(2, kv_heads, total, width),
    }
    if mask == ir.DataType.BOOL:
        return feeds | {"mask": np.broadcast_to(seen, (2, 1, seq, total)).copy()}
    slopes = np.arange(1, heads + 1, dtype=np.float32)[:, None, None] / heads
    bias = np.where(seen, slopes * np.arange(total, dtype=np.float32), np.finfo(np.float32).min)
    return feeds | {"mask": np.broadcast_to(bias, (2, heads, seq, total)).astype(np.float32)}


def semantic(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    name: str,
    shape: Sequence[int | str],
    dtype: ir.DataType = ir.DataType.FLOAT,
    **attributes: Any,
) -> ir.Node:
    """A node of the domain archc, named like its one output, whose type and shape are known."""
    node = ir.Node(
        ARCHC, op_type, inputs, [ir.convenience.convert_attribute(*pair) for pair in attributes.items()], name=name
    )
    describe(node, name, shape, dtype)
    return node


def describe(node: ir.Node, name: str, shape: Sequence[int | str], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    """The first output of a node, with a name, a type and a shape."""
    output = node.outputs[0]
    output.name, output.type, output.shape = name, ir.TensorType(dtype), ir.Shape(shape)
    return output


_FLOATS = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
}


def filled(graph_model: ir.Model, slots: Mapping[str, torch.Tensor]) -> ir.Model:
    """The model with the bytes of its weights, as a plan stores them, from the tensors of these slots."""
    for item in graph_model.graph.initializers.values():
        stored = item.const_value
        if not isinstance(stored, WeightTensor):
            continue
        dtype = _FLOATS.get(stored.dtype, torch.uint8)
        parts = [(part, join_rows([slots[slot] for slot in part.slots])) for part in stored.in_parts()]
        blocks = [block for part, rows in parts for block in part.blocks(rows, dtype)]
        data = b"".join(block.contiguous().view(torch.uint8).numpy().tobytes() for block in blocks)
        assert len(data) == stored.nbytes
        dims = [int(size) for size in stored.shape]
        proto = onnx.TensorProto(name=item.name, data_type=int(stored.dtype), dims=dims, raw_data=data)
        item.const_value = ir.serde.deserialize_tensor(proto)
    return graph_model


def weights_of(graph_model: ir.Model) -> dict[str, WeightTensor]:
    """The streamed weights by name."""
    tensors = {item.name: item.const_value for item in graph_model.graph.initializers.values()}
    return {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, WeightTensor)}
