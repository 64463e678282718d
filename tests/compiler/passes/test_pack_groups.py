"""The graph with two groups of tokens: products once, attention for each group, and the contract of both."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir
import pytest
import torch

from archc.archspec import load_spec
from archc.compiler.contract.ports import PIECE, describe
from archc.compiler.graph.domains import ARCHC
from archc.compiler.modules.model import meta_model
from archc.compiler.passes.pack_groups import PackGroups
from archc.compiler.passes.read_full_caches import ReadFullCaches
from archc.compiler.tracing.stitch import assemble

SPECS = {
    "attention": (
        "family: tiny\nextends: qwen2\nsizes:\n  tiny: {vocab_size: 64, hidden_size: 16, intermediate_size: 24, "
        "num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32, "
        "rope_theta: 10000.0, tie_word_embeddings: false}\n"
    ),
    "experts": (
        "family: tiny\nextends: mixtral\nsizes:\n  tiny: {vocab_size: 64, hidden_size: 16, intermediate_size: 24, "
        "num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 32, "
        "rope_theta: 10000.0, num_local_experts: 4, num_experts_per_tok: 2}\n"
    ),
}


@pytest.fixture(scope="module", params=SPECS)
def graphs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ir.Model, ir.Model]:
    """A traced model, and the same one packed."""
    path = tmp_path_factory.mktemp("packed") / "tiny.yaml"
    path.write_text(SPECS[request.param])
    plain = assemble(meta_model(load_spec(path).bind(None, "tiny"), torch.float32))["model"]
    packed = plain.clone()
    assert PackGroups()(packed).modified
    return plain, packed


def counts(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def test_products_and_norms_are_computed_once_for_both_groups(graphs: tuple[ir.Model, ir.Model]) -> None:
    before, after = map(counts, graphs)
    for once in ("Linear", "Norm", "Experts", "Swish"):
        assert after[once] == before[once], once
    for each in ("Attention", "UpdateCache", "SplitHeads", "RotaryEmbedding", "TakePositions"):
        assert after[each] == 2 * before[each], each


def test_every_weight_of_a_product_has_one_reader(graphs: tuple[ir.Model, ir.Model]) -> None:
    _, packed = graphs
    for value in packed.graph.initializers.values():
        readers = [use.node for use in value.uses() if (use.node.domain, use.node.op_type) == (ARCHC, "Linear")]
        assert len(readers) <= 1, value.name


def test_both_groups_have_the_contract_of_the_model(graphs: tuple[ir.Model, ir.Model]) -> None:
    plain, packed = graphs
    expected = describe(plain.graph)
    steps, piece = describe(packed.graph), describe(packed.graph, PIECE)
    assert (steps.inputs, steps.state) == (expected.inputs, expected.state)
    assert [(item.name, item.role, item.mask) for item in piece.inputs] == [
        (f"piece.{item.name}", item.role, item.mask) for item in expected.inputs
    ]
    assert [(state.input, state.output, state.kind) for state in piece.state] == [
        (f"piece.{state.input}", f"piece.{state.output}", state.kind) for state in expected.state
    ]
    # A piece has one row, and its own number of tokens in the slots of the same cache.
    assert {item.shape[0] for item in piece.inputs} == {1}
    assert piece.state[0].shape[1:] == expected.state[0].shape[1:]
    assert [item.role for item in steps.outputs] == ["logits"]
    assert not piece.outputs
    assert steps.outputs[0].shape[0] == 1


def test_a_piece_reads_its_live_keys_where_steps_read_whole_caches(graphs: tuple[ir.Model, ir.Model]) -> None:
    model = graphs[0].clone()
    assert ReadFullCaches()(model).modified
    PackGroups()(model)
    steps, piece = describe(model.graph), describe(model.graph, PIECE)
    axes = [[item.shape[3] for item in group.inputs if item.role == "mask"] for group in (steps, piece)]
    assert axes == [["capacity"], ["piece_total"]]


def test_names_of_values_are_unique(graphs: tuple[ir.Model, ir.Model]) -> None:
    _, packed = graphs
    names = [value.name for node in packed.graph for value in node.outputs]
    assert len(set(names)) == len(names)
    assert all(names)
