"""Latent attention in the form that costs less for the call: absorbed or expanded.

Absorbed, as the portable graph has it, every query head works on the latents themselves; a step of decoding reads what
is cached and nothing else. Expanded, the latents become the keys and values of every head first, which are narrower
than a latent: that pays where many queries share them, as in a prompt. An If on the call's lengths chooses; both of its
branches read the same weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, fixed_size, take_over
from archc.compiler.ops.operators import ATTENTION_METADATA
from archc.compiler.passes.attention.grouped_attention import MICROSOFT, additive_mask


@dataclass(frozen=True)
class _Parts:
    """The nodes of one latent attention in the portable graph, in order, and what they read."""

    absorb: ir.Node  # queries · k_up
    join: ir.Node  # … with their rotated part
    attention: ir.Node
    cut: ir.Node  # what is mixed of the latents
    expand: ir.Node  # … · v_up
    query: ir.Value  # [B, H, S, N]
    rotated: ir.Value  # [B, H, S, R]
    stored: ir.Value  # [B, 1, T, L + R]
    mask: ir.Value
    k_up: ir.Value  # [H, N, L]
    v_up: ir.Value  # [H, L, V]
    latent: int

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        return (self.absorb, self.join, self.attention, self.cut, self.expand)


def choose_latent_form(model: ir.Model) -> int:
    """Puts every latent attention under an If with both of its forms; returns how many there were."""
    graph = model.graph
    found = [parts for node in list(graph) if (parts := _parts(node)) is not None]
    for parts in found:
        _choose(graph, parts)
    if found:
        graph.opset_imports[MICROSOFT] = 1
    return len(found)


def _parts(attention: ir.Node) -> _Parts | None:
    """The nodes around an Attention that says that it is over a latent; they are one operator's translation."""
    described = attention.metadata_props.get(ATTENTION_METADATA) if attention.op_type == "Attention" else None
    latent = json.loads(described).get("latent") if described is not None else None
    if latent is None:
        return None
    query, stored, _, mask = (_present(value) for value in attention.inputs[:4])
    join = _producer(query, "Concat")
    absorb = _producer(_present(join.inputs[0]), "MatMul")
    cut = _only_use(attention, "Slice")
    expand = _only_use(cut, "MatMul")
    q, k_up = (_present(value) for value in absorb.inputs)
    rotated, v_up = _present(join.inputs[1]), _present(expand.inputs[1])
    return _Parts(absorb, join, attention, cut, expand, q, rotated, stored, mask, k_up, v_up, latent)


def _present(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


def _producer(value: ir.Value, op_type: str) -> ir.Node:
    node = value.producer()
    assert node is not None
    assert node.op_type == op_type, f"{value.name} comes from {node.op_type}, not {op_type}"
    return node


def _only_use(node: ir.Node, op_type: str) -> ir.Node:
    ((user, _),) = node.outputs[0].uses()
    assert user.op_type == op_type, f"{node.name} feeds {user.op_type}, not {op_type}"
    return user


def _choose(graph: ir.Graph, parts: _Parts) -> None:
    name = parts.attention.name
    before = Tape(graph, f"{name}.choice")
    additive = additive_mask(before, before.constant, parts.mask, parts.stored)
    condition = _expanding_is_cheaper(before, parts)
    graph.insert_before(parts.absorb, before.nodes)

    result = parts.expand.outputs[0]
    expanded = Tape(graph, f"{name}.expanded")
    wide = _expanded(expanded, parts, additive)
    wide.name, wide.type, wide.shape = f"{result.name}.expanded", result.type, result.shape
    branch = ir.Graph([], [wide], nodes=expanded.nodes, name=f"{name}.expanded")

    choice = ir.Node("", "If", [condition], [ir.AttrGraph("then_branch", branch)], num_outputs=1, name=f"{name}.form")
    graph.insert_after(parts.expand, choice)
    take_over(result, choice.outputs[0])
    result.name = f"{choice.outputs[0].name}.absorbed"

    parts.attention.replace_input_with(3, additive)
    graph.remove(parts.nodes)
    absorbed = ir.Graph([], [result], nodes=parts.nodes, name=f"{name}.absorbed")
    choice.attributes.add(ir.AttrGraph("else_branch", absorbed))


def _expanding_is_cheaper(op: Tape, parts: _Parts) -> ir.Value:
    """Whether T · c < S · c + S · T · d, bool [1].

    c multiplications make one token's keys and values, or draw k_up and v_up to one query, in all heads; d is how many
    more a pair of query and key takes in the absorbed form.
    """
    heads, nope, latent = (fixed_size(parts.k_up, axis) for axis in range(3))
    value = fixed_size(parts.v_up, 2)
    once = op.integers(heads * latent * (nope + value))
    a_pair = op.integers(heads * (2 * latent - nope - value))
    queries = op("Shape", parts.mask, start=2, end=3)
    keys = op("Shape", parts.mask, start=3, end=4)
    extra = op("Mul", op("Sub", keys, queries), once)
    return op("Less", extra, op("Mul", op("Mul", queries, keys), a_pair))


def _expanded(op: Tape, parts: _Parts, additive: ir.Value) -> ir.Value:
    """softmax(scale · (q · (k_up · latentᵀ) + q_rotated · k_rotatedᵀ) + mask) · (latent · v_up): [B, H, S, V]."""
    scale, end = parts.attention.attributes["scale"].as_float(), fixed_size(parts.stored, 3)
    axis = op.integers(3)
    latent = op("Slice", parts.stored, op.integers(0), op.integers(parts.latent), axis)
    shared = op("Slice", parts.stored, op.integers(parts.latent), op.integers(end), axis)
    # Keys come out transposed, as the scores want them, so that both forms read k_up as it is stored.
    keys = op("MatMul", parts.k_up, op("Transpose", latent, perm=[0, 1, 3, 2]))
    still = op("FusedMatMul", parts.query, keys, domain=MICROSOFT, alpha=scale)
    turned = op("FusedMatMul", parts.rotated, shared, domain=MICROSOFT, alpha=scale, transB=1)
    weights = op("Softmax", op("Add", op("Add", still, turned), additive), axis=-1)
    return op("MatMul", weights, op("MatMul", latent, parts.v_up))
