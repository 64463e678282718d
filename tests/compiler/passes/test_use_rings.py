"""Ring buffers: axes, ports and the mode of updates of windowed layers, and nothing else."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from archc.compiler.contract.ports import describe, mark, port
from archc.compiler.contract.rings import Rings
from archc.compiler.passes.use_rings import UseRings
from tests.compiler.lowerings.attention.cached import CachedAttention

WINDOW = 5
RINGS = Rings({0: WINDOW}, {"mask": WINDOW}, {"past.key": WINDOW, "past.value": WINDOW})


def windowed(kind: str = "causal") -> ir.Model:
    """Return a graph with attention in a window, before any pass."""
    model = CachedAttention().model()
    mask = next(value for value in model.graph.inputs if value.name == "mask")
    mark(mask, {"role": "mask", "mask": {"kind": kind, "window": WINDOW}})
    return model


def updates(model: ir.Model) -> dict[str, tuple[str, str]]:
    """Return the mode and the shape of each update by its cache's name."""
    nodes = [node for node in model.graph if node.op_type == "UpdateCache"]
    return {node.inputs[0].name: (node.attributes["mode"].value, str(node.outputs[0].shape)) for node in nodes}


def shapes(model: ir.Model) -> dict[str | None, str]:
    return {value.name: str(value.shape) for value in (*model.graph.inputs, *model.graph.outputs)}


def ports(model: ir.Model) -> dict[str | None, dict[str, object]]:
    return {value.name: port(value) for value in (*model.graph.inputs, *model.graph.outputs)}


def test_caches_masks_and_updates_become_rings() -> None:
    model = windowed()
    assert UseRings(RINGS)(model).modified
    cache = "[batch,2,ring_5,8]"
    assert updates(model) == {"past.key": ("circular", cache), "past.value": ("circular", cache)}
    assert shapes(model) == shapes(windowed()) | {
        "mask": "[batch,1,seq,live_5]",
        **dict.fromkeys(["past.key", "past.value", "present.key", "present.value"], cache),
    }
    contract = describe(model.graph)
    assert [(state.kind, state.window, state.shape) for state in contract.state] == [
        ("ring", WINDOW, ("batch", 2, "ring_5", 8))
    ] * 2
    ((mask,),) = ([item.mask for item in contract.inputs],)
    assert mask is not None
    assert (mask.kind, mask.window, mask.ring) == ("causal", WINDOW, True)


def test_states_and_masks_that_are_not_listed_stay() -> None:
    model = windowed()
    assert UseRings(Rings({0: WINDOW}, {}, {"past.value": WINDOW}))(model).modified
    linear, circular = "[batch,2,capacity,8]", "[batch,2,ring_5,8]"
    assert updates(model) == {"past.key": ("linear", linear), "past.value": ("circular", circular)}
    assert shapes(model)["mask"] == "[batch,1,seq,total]"
    assert ports(model)["mask"] == ports(windowed())["mask"]


@pytest.mark.parametrize("kind", ["bidirectional", "prefix", "source"])
def test_a_mask_of_another_kind_stays(kind: str) -> None:
    """An encoder's mask of a window has the name of the decoder's."""
    model = windowed(kind)
    assert not UseRings(Rings({0: WINDOW}, {"mask": WINDOW}, {}))(model).modified
    assert (shapes(model), ports(model)) == (shapes(windowed(kind)), ports(windowed(kind)))


def test_without_windows_the_graph_stays() -> None:
    model, original = windowed(), windowed()
    assert not UseRings(Rings())(model).modified
    assert (updates(model), shapes(model), ports(model)) == (updates(original), shapes(original), ports(original))
