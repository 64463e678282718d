"""`archc verify` of quantized plans: right ones are ok, and each kind of wrong one fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec import convert

from archc.cli.app import main
from archc.plan import Manifest, Plan, PlanWriter
from tests.archc.conftest import TINY, Archc

FORMS = {
    "int8": ["--quantize", "int8"],
    "int4": ["--quantize", "int4"],
    "kv-int8": ["--kv", "int8"],
    "int4-kv-int8": ["--quantize", "int4", "--kv", "int8"],
}
Edit = Callable[[onnx.ModelProto, "Tensors"], None]


class Tensors:
    """The tensors of a plan's weights.bin, to be read and changed; `fields` is the manifest as JSON."""

    def __init__(self, manifest: Manifest, fields: dict[str, Any], data: bytearray) -> None:
        self.places, self.fields, self.data = {tensor.name: tensor for tensor in manifest.tensors}, fields, data

    def named(self, *words: str) -> str:
        """Return the first name with all of the words in it."""
        return next(name for name in self.places if all(word in name for word in words))

    def view(self, name: str) -> Any:
        """Return a view of a tensor's elements, through which they can be changed."""
        place = self.places[name]
        dtype = {"float32": np.float32, "int8": np.int8, "uint8": np.uint8}[place.dtype]
        return np.frombuffer(self.data, dtype, int(np.prod(place.shape)), place.offset).reshape(place.shape)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the trained example's plan in each form."""
    folder = tmp_path_factory.mktemp("forms")
    for form, options in FORMS.items():
        assert main(["build", str(TINY), *options, "-o", str(folder / form)]) == 0
    return {form: folder / form for form in FORMS}


def rewritten(plan: Path, out: Path, edit: Edit) -> Path:
    """Write a plan anew after an edit of its graph and weights."""
    with Plan(plan) as opened:
        entries = {name: bytearray(opened.read(name)) for name in opened.names}
        manifest = opened.manifest
    model = onnx.load_model_from_string(bytes(entries["model.onnx"]))
    fields = json.loads(entries.pop("manifest.json"))
    edit(model, Tensors(manifest, fields, entries["weights.bin"]))
    entries["model.onnx"] = bytearray(model.SerializeToString())
    with PlanWriter(out) as writer:
        for name, data in entries.items():
            writer.add(name, bytes(data))
        return writer.finish(convert({**fields, "entries": {}}, Manifest))


@pytest.mark.parametrize("form", FORMS)
def test_a_right_plan_is_ok(archc: Archc, plans: dict[str, Path], form: str) -> None:
    result = archc("verify", plans[form], "--weights", TINY)
    assert result.code == 0, result.out
    assert result.out.endswith("\nok\n")
    assert "tolerance: 15% of the largest reference value, 6% root mean square (" in result.out
    assert "past" not in result.out


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_every_matrix_is_compared_and_dequantized(archc: Archc, plans: dict[str, Path], form: str) -> None:
    found = archc("verify", plans[form], "--weights", TINY, "--json").json
    assert f"with the plan's {form} weights dequantized" in found["reference"]
    assert found["tolerance"].endswith(f"(dequantized {form} weights)")
    assert found["graph_reference"].startswith("transformers ")
    assert [(item["output"], item["ok"]) for item in found["graph_differences"]] == [("logits", True)]
    # Five layers: queries, keys and values as one, the output projection, three of the MLP; and the tied table.
    assert found["weights"]["matrices"] == 5 * 5 + 1
    assert found["weights"]["others"] == 5 * 3 + 1  # two norms and a joined bias each, and the last norm
    assert 0.5 < found["weights"]["largest"] <= 1.01
    assert found["differences"][0]["rms"] < 0.03


def test_a_quantized_cache_alone_is_compared_with_transformers(archc: Archc, plans: dict[str, Path]) -> None:
    found = archc("verify", plans["kv-int8"], "--weights", TINY, "--json").json
    assert found["reference"].startswith("transformers ")
    assert found["tolerance"].endswith("(an int8 KV cache)")
    assert 0 < found["differences"][0]["rms"] < 0.01


def swap_neighbor_scales(_: onnx.ModelProto, tensors: Tensors) -> None:
    """Swap the scales of two output channels of one matrix."""
    scales = tensors.view(tensors.named("layers.2.mlp.up", "scale"))
    flat = scales.reshape(-1)
    first, last = int(flat.argmin()), int(flat.argmax())
    flat[[first, last]] = flat[[last, first]]


def swap_matrices(model: onnx.ModelProto, _: Tensors) -> None:
    """Give the products of gate and up of one layer each other's integers."""
    nodes = [node for node in model.graph.node if any("layers.2.mlp.gate.weight" in name for name in node.input)]
    others = [node for node in model.graph.node if any("layers.2.mlp.up.weight" in name for name in node.input)]
    nodes[0].input[1], others[0].input[1] = others[0].input[1], nodes[0].input[1]


def change_one_integer(_: onnx.ModelProto, tensors: Tensors) -> None:
    """Flip the sign bit of one integer."""
    integers = tensors.view(next(name for name in tensors.places if name.startswith("layers.4.attention.o.weight")))
    integers.view(np.uint8).reshape(-1)[7] ^= 0x80


def change_a_norm(_: onnx.ModelProto, tensors: Tensors) -> None:
    """Change one weight of a norm, which is in floating point, by a thousandth."""
    tensors.view(tensors.named("layers.1.mixer_norm.weight"))[5] *= 1.001


def take_wrong_scales(model: onnx.ModelProto, tensors: Tensors) -> None:
    """Give one matrix the scales of another layer."""
    wrong = tensors.named("layers.3.mlp.gate", "scale")
    node = next(n for n in model.graph.node if any("layers.2.mlp.gate.weight" in name for name in n.input))
    place = next(i for i, name in enumerate(node.input) if "scale" in name)
    node.input[place] = wrong


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize(
    "edit", [swap_neighbor_scales, swap_matrices, take_wrong_scales], ids=lambda edit: edit.__name__.replace("_", "-")
)
def test_wrong_weights_fail(archc: Archc, plans: dict[str, Path], tmp_path: Path, form: str, edit: Edit) -> None:
    result = archc("verify", rewritten(plans[form], tmp_path / "wrong.plan", edit), "--weights", TINY)
    assert (result.code, result.err) == (1, "")
    weights = next(line for line in result.out.splitlines() if line.startswith("weights: "))
    assert "past 1.01" in weights
    assert result.out.endswith("FAILED\n")


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_one_wrong_integer_fails(archc: Archc, plans: dict[str, Path], tmp_path: Path, form: str) -> None:
    wrong = rewritten(plans[form], tmp_path / "wrong.plan", change_one_integer)
    result = archc("verify", wrong, "--weights", TINY, "--json")
    assert result.code == 1
    assert result.json["weights"]["tensor"].startswith("layers.4.attention.o.weight")
    assert not result.json["weights"]["ok"]


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_wrong_norm_fails(archc: Archc, plans: dict[str, Path], tmp_path: Path, form: str) -> None:
    wrong = rewritten(plans[form], tmp_path / "wrong.plan", change_a_norm)
    result = archc("verify", wrong, "--weights", TINY)
    assert result.code == 1
    assert "others: layers.1.mixer_norm.weight differs" in result.out


def drop_bias(model: onnx.ModelProto, _: Tensors) -> None:
    """Leave out the biases of queries, keys and values."""
    for node in model.graph.node:
        if any("attention.q" in name and name.endswith(".bias") for name in node.input):
            place = next(i for i, name in enumerate(node.input) if name.endswith(".bias"))
            assert place == len(node.input) - 1
            del node.input[place]
            if node.op_type == "Add":
                node.op_type = "Identity"


def double_residual(model: onnx.ModelProto, _: Tensors) -> None:
    """Add a layer's input twice where its residual is added."""
    node = next(n for n in model.graph.node if n.op_type == "SkipSimplifiedLayerNormalization")
    node.input[1] = node.input[0]


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("edit", [drop_bias, double_residual], ids=lambda edit: edit.__name__.replace("_", "-"))
def test_a_wrong_graph_fails(archc: Archc, plans: dict[str, Path], tmp_path: Path, form: str, edit: Edit) -> None:
    result = archc("verify", rewritten(plans[form], tmp_path / "wrong.plan", edit), "--weights", TINY, "--json")
    assert result.code == 1
    assert result.json["weights"]["ok"]
    assert not result.json["differences"][0]["ok"]


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from all_nodes(attribute.g)


def swap_cache_scales(model: onnx.ModelProto, _: Tensors) -> None:
    """Read the scales of the first layer's values for its keys, and the other way round."""
    names = {
        "present.0.key.scale": "present.0.value.scale",
        "present.0.value.scale": "present.0.key.scale",
    }
    readers = 0
    for node in all_nodes(model.graph):
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
                readers += 1
    assert readers >= 2


@pytest.mark.parametrize("form", ["kv-int8", "int4-kv-int8"])
def test_swapped_scales_of_a_cache_fail(archc: Archc, plans: dict[str, Path], tmp_path: Path, form: str) -> None:
    wrong = rewritten(plans[form], tmp_path / "wrong.plan", swap_cache_scales)
    result = archc("verify", wrong, "--weights", TINY, "--json")
    assert result.code == 1
    assert not result.json["differences"][0]["ok"]


def test_another_checkpoint_fails(archc: Archc, plans: dict[str, Path], hot: Path) -> None:
    result = archc("verify", plans["int8"], "--weights", hot, "--json")
    assert result.code == 1
    assert result.json["weights"]["tensor"].startswith("layers.1.mlp.up.weight")


def rename_tensors(model: onnx.ModelProto, tensors: Tensors) -> None:
    """Name every stored tensor otherwise, as another version of archc may."""
    for tensor in tensors.fields["tensors"]:
        tensor["name"] = f"other.{tensor['name']}"
    for item in model.graph.initializer:
        if item.name in tensors.places:
            item.name = f"other.{item.name}"
    for node in all_nodes(model.graph):
        node.input[:] = [f"other.{name}" if name in tensors.places else name for name in node.input]


def test_weights_in_an_unknown_form_have_a_wider_tolerance(
    archc: Archc, plans: dict[str, Path], tmp_path: Path
) -> None:
    other = rewritten(plans["int8"], tmp_path / "other.plan", rename_tensors)
    found = archc("verify", other, "--weights", TINY, "--json").json
    assert (found["ok"], found["weights"]) == (True, None)
    (note,) = found["notes"]
    assert note == "the plan's weights are stored in a form that is unknown here, so they are not dequantized"
    assert found["tolerance"] == "25% of the largest reference value, 10% root mean square (int8 weights)"


@pytest.mark.parametrize(
    ("name", "slots"),
    [
        ("layers.0.attention.q.weight.int4.scale", ["layers.0.attention.q.weight"]),
        ("layers.0.attention.q+k.weight.column", ["layers.0.attention.q.weight", "layers.0.attention.k.weight"]),
        ("head.weight+layers.0.attention.k.weight.int4", ["head.weight", "layers.0.attention.k.weight"]),
        ("layers.2.attention.q.weight", []),
        (
            "layers.0+1.attention.q+k.weight.column",
            [f"layers.{layer}.attention.{part}.weight" for layer in (0, 1) for part in "qk"],
        ),
        ("layers", []),
        ("layers.0.attention.q+v.weight", []),
    ],
    ids=["suffix", "joined-words", "joined-names", "unknown", "joined-layers", "part-of-a-name", "joined-unknown"],
)
def test_slots_of_a_stored_tensor(name: str, slots: Sequence[str]) -> None:
    import torch

    from archc.verify.stored_weights import _find_slots

    known = [f"layers.{layer}.attention.{part}.weight" for layer in (0, 1) for part in "qk"] + ["head.weight"]
    assert _find_slots(name, dict.fromkeys(known, torch.zeros(1))) == slots
