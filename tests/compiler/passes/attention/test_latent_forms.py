from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from archc.compiler.contract.types import TensorType
from archc.compiler.ops.latent_attention import latent_attention
from archc.compiler.passes.attention.grouped_attention import group_attention
from archc.compiler.passes.attention.latent_forms import choose_latent_form
from archc.compiler.passes.clean import clean
from archc.compiler.tracing.parts import Part, record
from tests.compiler.graphs import attention, operators, run

HEADS, NOPE, ROPE, VALUE, LATENT = 3, 4, 2, 5, 12
SCALE = 0.4
NAMES = tuple(f"given.{name}" for name in ("q", "rotated", "stored", "k_up", "v_up", "mask"))


def inputs(seq: int, total: int, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seq * 100 + total)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    seen = torch.arange(total) <= torch.arange(seq)[:, None] + total - seq
    return [
        normal(batch, HEADS, seq, NOPE), normal(batch, HEADS, seq, ROPE), normal(batch, 1, total, LATENT + ROPE),
        normal(HEADS * NOPE, LATENT) / 3, normal(HEADS * VALUE, LATENT) / 3,
        seen.expand(batch, 1, seq, total).contiguous(),
    ]  # fmt: skip


class Twice(torch.nn.Module):
    """Two layers that share a mask."""

    def forward(self, q: Tensor, rotated: Tensor, stored: Tensor, k_up: Tensor, v_up: Tensor, mask: Tensor) -> Tensor:
        first = latent_attention(q, rotated, stored, k_up, v_up, mask, SCALE)
        return latent_attention(q + first[..., :NOPE], rotated, stored, k_up, v_up, mask, SCALE)


@pytest.fixture(scope="module")
def exported() -> ir.Model:
    def axes(*shape: int | str, dtype: torch.dtype = torch.float32) -> TensorType:
        return TensorType(dtype, shape)

    types = (
        axes("batch", HEADS, "seq", NOPE), axes("batch", HEADS, "seq", ROPE),
        axes("batch", 1, "total", LATENT + ROPE), axes(HEADS * NOPE, LATENT), axes(HEADS * VALUE, LATENT),
        axes("batch", 1, "seq", "total", dtype=torch.bool),
    )  # fmt: skip
    twice = Twice()
    return record(Part(twice, lambda given: [twice(*given.values())], dict(zip(NAMES, types, strict=True))))[0]


def feeds(tensors: list[Tensor]) -> dict[str, np.ndarray]:
    return dict(zip(NAMES, (tensor.numpy() for tensor in tensors), strict=True))


@pytest.mark.parametrize(("seq", "total"), [(1, 1), (1, 40), (3, 40), (9, 9), (30, 40)])
def test_every_length_gives_what_the_operator_means(exported: ir.Model, seq: int, total: int) -> None:
    tensors = inputs(seq, total)
    wanted = Twice()(*tensors).numpy()
    np.testing.assert_allclose(run(exported, feeds(tensors))[0], wanted, rtol=0, atol=1e-5)
    model = exported.clone()
    assert choose_latent_form(model) == 2
    assert group_attention(model) == 2
    assert clean(model) > 0
    np.testing.assert_allclose(run(model, feeds(tensors))[0], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("seq", "total", "expands"), [(1, 1, True), (1, 40, False), (3, 40, False), (30, 40, True)])
def test_a_prompt_expands_and_a_step_does_not(exported: ir.Model, seq: int, total: int, expands: bool) -> None:
    model = exported.clone()
    choose_latent_form(model)
    clean(model)
    conditions = {node.inputs[0] for node in model.graph if node.op_type == "If"}
    assert len(conditions) == 1, "layers with one mask choose once"
    model.graph.outputs.append(conditions.pop())
    assert run(model, feeds(inputs(seq, total)))[1].tolist() == [expands]


def test_the_weights_are_read_as_they_are_stored_by_both_forms(exported: ir.Model) -> None:
    model = exported.clone()
    before = operators(model)
    choose_latent_form(model)
    assert operators(model).count("If") == before.count("Attention") == 2
    assert "Attention" not in operators(model)
    choices = [node for node in model.graph if node.op_type == "If"]
    for branch in (node.attributes[name].as_graph() for node in choices for name in ("then_branch", "else_branch")):
        made = {output for node in branch for output in node.outputs}
        weights = [v for node in branch for v in node.inputs if v is not None and v not in made and _is_weight(v)]
        assert [list(weight.shape or ()) for weight in sorted(weights, key=lambda v: v.shape[1])] == [
            [HEADS, NOPE, LATENT],
            [HEADS, LATENT, VALUE],
        ]


def _is_weight(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 3


def test_the_outputs_name_stays(exported: ir.Model) -> None:
    model = exported.clone()
    names = [output.name for output in model.graph.outputs]
    choose_latent_form(model)
    assert [output.name for output in model.graph.outputs] == names


def test_other_attention_stays() -> None:
    model = attention(6, 2, 8, 0.7, ir.DataType.BOOL)
    assert choose_latent_form(model) == 0
    assert operators(model) == ["Attention"]
