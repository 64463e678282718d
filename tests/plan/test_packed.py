"""The manifest section of packed.onnx, and the entry that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from archc.plan import Manifest, PlanError
from archc.plan.reader import check_entries


@pytest.fixture
def manifest(tiny: Any) -> dict[str, Any]:
    """The manifest of a decoder with a packed graph."""
    _, plain, _ = tiny.model()
    plain = json.loads(json.dumps(plain))
    plain["packed"] = {
        "steps": {"inputs": plain["inputs"], "state": plain["state"]},
        "piece": {
            "inputs": [{**item, "name": f"piece.{item['name']}"} for item in plain["inputs"]],
            "state": [
                {**state, "input": f"piece.{state['input']}", "output": f"piece.{state['output']}"}
                for state in plain["state"]
            ],
        },
        "outputs": plain["outputs"],
    }
    return json.loads(json.dumps(plain))  # type: ignore[no-any-return]


def test_a_packed_graph_that_fits_is_accepted(manifest: dict[str, Any]) -> None:
    packed = msgspec.convert(manifest, Manifest).packed
    assert packed is not None
    assert len(packed.inputs) == 2 * len(manifest["inputs"])
    assert len(packed.state) == 2 * len(manifest["state"])


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, tuple[Change, str]] = {
    "one name twice": (lambda p: p["piece"]["inputs"][0].update(name="input_ids"), "graph name 'input_ids'"),
    "an input less": (lambda p: p["piece"]["inputs"].pop(), "the inputs of the model in both groups"),
    "another role": (lambda p: p["steps"]["inputs"][0].update(role="lengths"), "the inputs of the model"),
    "a state less": (lambda p: p["piece"]["state"].pop(), "the state of the model in both groups"),
    "another type": (lambda p: p["piece"]["state"][0].update(dtype="int8"), "the state of the model in both groups"),
    "no outputs": (lambda p: p["outputs"].clear(), "the outputs of the model"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_a_packed_graph_that_does_not_fit_is_refused(manifest: dict[str, Any], change: Change, message: str) -> None:
    change(manifest["packed"])
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(manifest, Manifest)


def test_the_entry_and_the_section_come_together(manifest: dict[str, Any]) -> None:
    packed = msgspec.convert(manifest, Manifest)
    with pytest.raises(PlanError, match=r"entry 'packed\.onnx' not found"):
        check_entries(packed, {"model.onnx": 1, "weights.bin": 1}, "plan")
    plain = msgspec.structs.replace(packed, packed=None)
    with pytest.raises(PlanError, match=r"unexpected entry 'packed\.onnx': the manifest has no `packed`"):
        check_entries(plain, {"model.onnx": 1, "packed.onnx": 1}, "plan")
