"""Binding of a stack of layers: its sections, and one Layer per index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archc.archspec.assembly.checked_spec import CheckedSpec
from archc.archspec.assembly.variants import Variant
from archc.archspec.binding.evaluation import FAILED, EvaluationError, Evaluator, varies_by_layer
from archc.archspec.checking.checked_nodes import CheckedNode, CheckedSection
from archc.archspec.errors import format_value
from archc.archspec.vocabulary import PER_LAYER, Layer, Learned


def active_variants(spec: CheckedSpec, evaluator: Evaluator) -> list[int]:
    """Return the indices of the variants that hold in all layers."""
    return [
        index
        for index, variant in enumerate(spec.variants)
        if not variant.per_layer and _holds(variant, evaluator, None)
    ]


def bind_stack(
    spec: CheckedSpec, model: CheckedSection, evaluator: Evaluator, active: Sequence[int], names: Sequence[str]
) -> dict[str, Any] | None:
    """Return the named sections of a stack and its layers, or None after reporting problems.

    `model` is the model or its encoder, `active` the variants that hold in all layers. Sets `evaluator.layers`.
    """
    fields = {name: evaluator.try_evaluate(model.fields[name]) for name in names if name in model.fields}
    count_node = _node_at(model, "layer.count")
    count = evaluator.try_evaluate(count_node) if count_node is not None else FAILED
    layers = _bind_layers(spec, model, evaluator, active, count) if isinstance(count, int) else None
    if layers is None or any(value is FAILED for value in fields.values()):
        return None
    fields["layers"] = tuple(_with_table_size(layer, fields["context"]) for layer in layers)
    return fields


def _bind_layers(
    spec: CheckedSpec, model: CheckedSection, evaluator: Evaluator, active: Sequence[int], count: int
) -> list[Layer] | None:
    """Return every layer, bound with the variants that hold for it; None after reporting problems."""
    evaluator.layers = count
    by_variants: dict[tuple[int, ...], list[int]] = {}
    for layer in range(count if any(variant.per_layer for variant in spec.variants) else 0):
        more = _active_at(spec, evaluator, layer)
        by_variants.setdefault(tuple(sorted([*active, *more])), []).append(layer)
    if not by_variants:
        return _bind_alike(model, evaluator, range(count))
    layers: dict[int, Layer] = {}
    for variants, indices in by_variants.items():
        assembled = spec.assemble(variants)
        evaluator.problems += assembled.problems
        stack = _node_at(assembled.model, model.path) if assembled.model is not None and model.path else assembled.model
        bound = _bind_alike(stack, evaluator, indices) if isinstance(stack, CheckedSection) else None
        if bound is None:
            return None
        layers |= zip(indices, bound, strict=True)
    return [layers[index] for index in range(count)]


def _bind_alike(model: CheckedSection, evaluator: Evaluator, indices: Sequence[int]) -> list[Layer] | None:
    """Return the layers at these indices, bound with the same variants; equal layers are one object."""
    nodes = {path.rpartition(".")[2]: _node_at(model, path) for path in PER_LAYER}
    constant: dict[str, Any] = {}
    varying: dict[str, CheckedNode] = {}
    for name, node in nodes.items():
        if node is not None and varies_by_layer(node):
            varying[name] = node
        elif node is not None:
            constant[name] = evaluator.try_evaluate(node, 0)
    failed = any(value is FAILED for value in constant.values())
    layers: list[Layer] = []
    cache: dict[tuple[Any, ...], Layer] = {}
    for index in indices:
        values = {name: evaluator.try_evaluate(node, index) for name, node in varying.items()}
        if failed or any(value is FAILED for value in values.values()):
            failed = True
            continue
        key = tuple(values.values())
        if key not in cache:
            cache[key] = Layer(**constant, **values)
        layers.append(cache[key])
    return None if failed else layers


def _active_at(spec: CheckedSpec, evaluator: Evaluator, layer: int) -> Iterator[int]:
    """Yield the indices of the per-layer variants that hold at a layer."""
    for index, variant in enumerate(spec.variants):
        if variant.per_layer and _holds(variant, evaluator, layer):
            yield index


def _holds(variant: Variant, evaluator: Evaluator, layer: int | None) -> bool:
    """Return whether the condition of a variant is true; report a condition that has no boolean value."""
    path = f"{variant.path}.when"
    try:
        holds, inputs = evaluator.compute(variant.when, layer, variant.mark, path)
    except EvaluationError:
        return False
    if holds is not None and not isinstance(holds, bool):
        message = f"{variant.when.text} = {format_value(holds)} must be true or false {inputs}".rstrip()
        evaluator.problems.append(variant.mark.problem(path, message))
        return False
    return bool(holds)


def _node_at(model: CheckedSection, path: str) -> CheckedNode | None:
    """Return the node at a path, or None if the key has its default."""
    node: CheckedNode | None = model
    for key in path.split("."):
        node = node.fields.get(key) if isinstance(node, CheckedSection) else None
    return node


def _with_table_size(layer: Layer, context: int) -> Layer:
    """Return the layer with the default size of a table of learned positions filled in."""
    position = layer.position
    if isinstance(position, Learned) and position.size is None:
        return layer.model_copy(update={"position": position.model_copy(update={"size": context})})
    return layer
