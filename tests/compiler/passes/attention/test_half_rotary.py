from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.passes.attention.half_rotary import half_rotary
from tests.compiler.graphs import model, operators, run, value


def rotary(rotated: int, width: int, interleaved: int, scan: bool) -> ir.Model:
    x = value("x", ir.DataType.FLOAT, "batch", 3, "seq", width)
    tables = [value(name, ir.DataType.FLOAT, "batch", "seq", rotated // 2) for name in ("cos", "sin")]
    numbers = {"interleaved": interleaved, "rotary_embedding_dim": 0 if rotated == width else rotated}
    attributes = [ir.AttrInt64(name, number) for name, number in numbers.items()]
    node = ir.Node("", "RotaryEmbedding", [x, *tables], attributes, num_outputs=1, name="turn")
    y = node.outputs[0]
    y.name, y.shape, y.type = "y", x.shape, x.type
    if not scan:
        return model([x, *tables], [node], [y])
    total, item = value("total", ir.DataType.FLOAT), value("item", ir.DataType.FLOAT)
    add = ir.Node("", "Add", [total, item], name="add")
    add.outputs[0].name, add.outputs[0].shape, add.outputs[0].type = (
        "sum",
        ir.Shape([]),
        ir.TensorType(ir.DataType.FLOAT),
    )
    body = ir.Graph([total, item], add.outputs, nodes=[add], name="body")
    start, items = value("start", ir.DataType.FLOAT), value("items", ir.DataType.FLOAT, 4)
    loop = ir.Node(
        "", "Scan", [start, items], [ir.AttrGraph("body", body), ir.AttrInt64("num_scan_inputs", 1)], name="loop"
    )
    loop.outputs[0].name, loop.outputs[0].shape = "z", ir.Shape([])
    loop.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return model([x, *tables, start, items], [node, loop], [y, loop.outputs[0]])


def feeds(rotated: int, width: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"x": (2, 3, 5, width), "cos": (2, 5, rotated // 2), "sin": (2, 5, rotated // 2), "items": (4,)}
    made = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return made | {"start": np.zeros((), np.float32)}


@pytest.mark.parametrize(("rotated", "width"), [(8, 8), (6, 8)])
def test_equals_the_interleaved_rotation_beside_a_loop(rotated: int, width: int) -> None:
    given = feeds(rotated, width)
    wanted = run(rotary(rotated, width, 1, scan=True), given)
    changed = rotary(rotated, width, 1, scan=True)
    assert half_rotary(changed) == 1
    (turn,) = (node for node in changed.graph if node.op_type == "RotaryEmbedding")
    assert turn.attributes.get_int("interleaved") == 0
    for got, expected in zip(run(changed, given), wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("interleaved", "scan"), [(1, False), (0, True)])
def test_what_builds_stays(interleaved: int, scan: bool) -> None:
    kept = rotary(8, 8, interleaved, scan)
    before = operators(kept)
    assert half_rotary(kept) == 0
    assert operators(kept) == before
