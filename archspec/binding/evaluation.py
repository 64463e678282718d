"""Evaluation of checked nodes with the values of a config, layer by layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from archc.archspec.checking.checked_nodes import (
    CheckedNode,
    CheckedSection,
    Computed,
    Constant,
    LayerPattern,
    ListValue,
    walk,
)
from archc.archspec.checking.checker import LAYER_NAMES, Checker
from archc.archspec.checking.expressions import Expression
from archc.archspec.checking.functions import ExpressionError
from archc.archspec.config.names import Names
from archc.archspec.config.values import Values, describe_origin, describe_values
from archc.archspec.errors import Problem, did_you_mean, format_value
from archc.archspec.source.nodes import Mark, from_python, join_path
from archc.archspec.vocabulary import Section
from archc.archspec.vocabulary.schema import Schema, ValueSchema

FAILED = object()  # stands for the value of a node that could not be evaluated


class EvaluationError(Exception):
    """A node has no value; the cause is among the problems, or was reported for a name that the node reads."""


@dataclass
class Evaluator:
    """Evaluator of checked nodes; appends problems to `problems`, one per place."""

    values: Values
    problems: list[Problem]
    layers: int = 0  # number of layers of the stack that is evaluated
    _reported: set[tuple[Mark, str]] = field(default_factory=set)
    _place: tuple[int, int] | None = None  # layer and number of layers of `_at_place`
    _at_place: dict[str, Any] = field(default_factory=dict)  # values of names at the layer that was evaluated last

    def try_evaluate(self, node: CheckedNode, layer: int | None = None) -> Any:
        """Return the value of a node, or FAILED after reporting a problem."""
        try:
            return self.evaluate(node, layer)
        except EvaluationError:
            return FAILED

    def evaluate(self, node: CheckedNode, layer: int | None = None) -> Any:
        """Return the value of a node, at a layer's index if it is per layer. Raises EvaluationError after reporting."""
        match node:
            case Constant(value=value):
                return value
            case Computed():
                return self._computed(node, layer)
            case LayerPattern(items=items):
                if len(items) > self.layers:
                    message = f"{len(items)} items for {self.layers} layers"
                    self._report(node.mark, node.path, message, "remove the last ones, which have no effect")
                    raise EvaluationError
                return self.evaluate(items[(layer or 0) % len(items)], layer)
            case ListValue():
                values = [self.evaluate(item, layer) for item in node.items]
                return self._validate(values, node.schema, node.mark, node.path, format_value(values), "")
            case CheckedSection():
                return self._section(node, layer)

    def find_invalid_values(self, node: CheckedNode, names: Names) -> frozenset[str]:
        """Report config values that are not valid where they are read alone, and return their names.

        Marks these names, and the names computed from them, as invalid, so that no further problem is reported for a
        node that reads them.
        """
        invalid: set[str] = set()
        for part in walk(node):
            if not isinstance(part, Computed) or not part.expression.is_name or varies_by_layer(part):
                continue
            try:
                self.evaluate(part)
            except EvaluationError:
                invalid |= part.expression.names - self.values.invalid - self.values.missing
                self.values.invalid |= invalid
                self.values.invalid |= {name for name in names.all if self._depends_on(name, names, invalid)}
        return frozenset(invalid)

    def _depends_on(self, name: str, names: Names, invalid: Collection[str]) -> bool:
        return self.values.is_computed(name) and not names.closure([name]).isdisjoint(invalid)

    def _section(self, node: CheckedSection, layer: int | None) -> Section:
        values = {name: self.try_evaluate(child, layer) for name, child in node.fields.items()}
        if any(value is FAILED for value in values.values()):
            raise EvaluationError
        try:
            return node.section.model_validate(values)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                self._report(node.mark, node.path, str(fault["msg"]))
            raise EvaluationError from None

    def _computed(self, node: Computed, layer: int | None) -> Any:
        expression = node.expression
        value, inputs = self.compute(expression, layer, node.mark, node.path)
        if isinstance(node.schema, ValueSchema):
            equation = f"{expression.text} = {format_value(value)}"
            return self._validate(value, node.schema, node.mark, node.path, equation, inputs)
        return self._section_from_config(value, node.schema, node, layer, inputs)

    def compute(self, expression: Expression, layer: int | None, mark: Mark, path: str) -> tuple[Any, str]:
        """Return the value of an expression, and its inputs and their origins as text for messages.

        Raises EvaluationError after reporting a problem at the given place.
        """
        if expression.names & (self.values.missing | self.values.invalid):
            raise EvaluationError
        names = self.values.values if layer is None else self._names_at(layer, expression.names)
        at = layer if "layer" in expression.names else None
        value = self._value(expression, names, at, mark, path)
        if expression.is_name and expression.text in self.values.origins and at is None:
            return value, describe_origin(expression.text, self.values)
        return value, describe_values(expression.names, names, self.values.origins, at)

    def name_at(self, layer: int, name: str) -> Any:
        """Return the value of a derived name at a layer. Raises EvaluationError after reporting that it has none."""
        return self._names_at(layer, [name])[name]

    def _names_at(self, layer: int, names: Collection[str]) -> Mapping[str, Any]:
        """Return the values of names at a layer: all that have one value, and those of `names` with one for each layer.

        Raises EvaluationError after reporting one that has no value.
        """
        if self._place != (layer, self.layers):
            self._place = (layer, self.layers)
            self._at_place = {**self.values.values, "layer": layer, "layers": self.layers}
        missing = set(names).intersection(self.values.per_layer).difference(self._at_place)
        if missing:
            for name, derived in reversed(self.values.per_layer.items()):
                missing |= derived.expression.names if name in missing else set()
            for name, derived in self.values.per_layer.items():
                if name in missing and name not in self._at_place:
                    path = join_path("derive", name)
                    self._at_place[name] = self._value(derived.expression, self._at_place, layer, derived.mark, path)
        return self._at_place

    def _value(self, expression: Expression, names: Mapping[str, Any], layer: int | None, mark: Mark, path: str) -> Any:
        """Return the value of an expression; of a failure, the message has the `layer`.

        Raises EvaluationError after reporting a problem at the given place.
        """
        try:
            return expression.evaluate(names)
        except ExpressionError as error:
            inputs = describe_values(expression.names, names, self.values.origins, layer)
            self._report(mark, path, f"{format_value(expression.text)}: {error} {inputs}".rstrip(), error.hint)
            raise EvaluationError from None

    def _validate(self, value: object, schema: ValueSchema, mark: Mark, path: str, equation: str, inputs: str) -> Any:
        try:
            return schema.validate(value)
        except ValueError as error:
            hint = did_you_mean(value, schema.choices) if isinstance(value, str) and schema.choices else ""
            if isinstance(value, float) and value.is_integer() and "int" in schema.types:
                hint = "use // or int(...) for an integer"
            self._report(mark, path, f"{equation} {error} {inputs}".rstrip(), hint)
            raise EvaluationError from None

    def _section_from_config(
        self, value: object, schema: Schema, node: Computed, layer: int | None, inputs: str
    ) -> Any:
        """Return the section of a value in the config, such as a rope scaling."""
        problems: list[Problem] = []
        checked = Checker(None, problems).check(from_python(value, node.mark), schema, node.path)
        for problem in problems:
            message = f"{node.expression.text}: {problem.message} {inputs}".rstrip()
            self._report(node.mark, problem.path, message, problem.hint)
        if checked is None:
            raise EvaluationError
        return self.evaluate(checked, layer)

    def _report(self, mark: Mark, path: str, message: str, hint: str = "") -> None:
        if (mark, path) not in self._reported:
            self._reported.add((mark, path))
            self.problems.append(mark.problem(path, message, hint))


def varies_by_layer(node: CheckedNode) -> bool:
    """Return whether the node may have different values at different layers."""
    return any(
        isinstance(part, LayerPattern)
        or (isinstance(part, Computed) and not part.expression.names.isdisjoint(LAYER_NAMES))
        for part in walk(node)
    )
