"""Evaluates checked forms with the values of a config, layer by layer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from archc.archspec.checking.checked_nodes import Computed, Constant, Form, Group, Pattern, Row, walk_forms
from archc.archspec.checking.checker import LAYER_NAMES, Checker
from archc.archspec.checking.expressions import Expression, ExpressionError
from archc.archspec.checking.word_schema import LeafShape, Shape
from archc.archspec.config.names import Names
from archc.archspec.config.values import Values, explain, origin_of
from archc.archspec.errors import Problem, did_you_mean, shown
from archc.archspec.source.yaml_tree import Mark, from_python
from archc.archspec.vocabulary import Word


class FailedError(Exception):
    """A value that cannot be computed; why is among the problems, or was reported with the name that it reads."""


@dataclass
class Evaluator:
    """Turns forms into words of the vocabulary; faults go to `problems`, one for each place."""

    values: Values
    problems: list[Problem]
    layers: int = 0
    _reported: set[tuple[Mark, str]] = field(default_factory=set)

    def evaluate(self, form: Form, layer: int | None = None) -> Any:
        """The value of a form, at a layer where it belongs to one. Raises FailedError after reporting why."""
        match form:
            case Constant(value=value):
                return value
            case Computed():
                return self._computed(form, layer)
            case Pattern(items=items):
                if len(items) > self.layers:
                    message = f"{len(items)} items for {self.layers} layers; the last would have no effect"
                    self._report(form.mark, form.path, message)
                    raise FailedError
                return self.evaluate(items[(layer or 0) % len(items)], layer)
            case Row():
                values = [self.evaluate(item, layer) for item in form.items]
                return self._validated(values, form.shape, form.mark, form.path, shown(values), "")
            case Group():
                return self._group(form, layer)

    def find_faulty(self, form: Form, names: Names) -> frozenset[str]:
        """Reports config values that do not fit the one place that they are read for.

        Whatever else is computed from such a value is then not worth a message of its own.
        """
        faulty: set[str] = set()
        for part in walk_forms(form):
            if not isinstance(part, Computed) or not part.expression.is_name or varies(part):
                continue
            try:
                self.evaluate(part)
            except FailedError:
                faulty |= part.expression.names - self.values.broken - self.values.missing
                self.values.broken |= faulty
                self.values.broken |= {name for name in names.all if self._computed_from(name, names, faulty)}
        return frozenset(faulty)

    def _computed_from(self, name: str, names: Names, faulty: Collection[str]) -> bool:
        origin = self.values.origins.get(name)
        return origin in ("by default", "derived") and not names.needed([name]).isdisjoint(faulty)

    def _group(self, form: Group, layer: int | None) -> Word:
        values: dict[str, Any] = {}
        failed = False
        for name, child in form.fields.items():
            try:
                values[name] = self.evaluate(child, layer)
            except FailedError:
                failed = True
        if failed:
            raise FailedError
        try:
            return form.word.model_validate(values)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                self._report(form.mark, form.path, str(fault["msg"]))
            raise FailedError from None

    def _computed(self, form: Computed, layer: int | None) -> Any:
        expression = form.expression
        if expression.names & (self.values.missing | self.values.broken):
            raise FailedError
        names = self.values.values
        if layer is not None:
            names = {**names, "layer": layer, "layers": self.layers}
        try:
            value = expression.evaluate(names)
        except ExpressionError as error:
            why = explain(expression.names, self.values, layer if "layer" in expression.names else None)
            self._report(form.mark, form.path, f"{shown(expression.text)}: {error} {why}".rstrip(), error.hint)
            raise FailedError from None
        what, why = self._described(expression, value, layer)
        if isinstance(form.shape, LeafShape):
            return self._validated(value, form.shape, form.mark, form.path, what, why)
        return self._filled(value, form.shape, form, layer, why)

    def _validated(self, value: object, shape: LeafShape | Shape, mark: Mark, path: str, what: str, why: str) -> Any:
        assert isinstance(shape, LeafShape)
        try:
            return shape.validate(value)
        except ValueError as error:
            hint = did_you_mean(value, shape.words) if isinstance(value, str) and shape.words else ""
            if isinstance(value, float) and value.is_integer() and "int" in shape.types:
                hint = "use // or int(...) for a whole number"
            self._report(mark, path, f"{what} {error} {why}".rstrip(), hint)
            raise FailedError from None

    def _filled(self, value: object, shape: Shape, form: Computed, layer: int | None, why: str) -> Any:
        """A section that a value from the config fills."""
        found: list[Problem] = []
        inner = Checker(None, found).check(from_python(value, form.mark), shape, form.path)
        for problem in found:
            self._report(
                form.mark, problem.path, f"{form.expression.text}: {problem.message} {why}".rstrip(), problem.hint
            )
        if inner is None:
            raise FailedError
        return self.evaluate(inner, layer)

    def _described(self, expression: Expression, value: object, layer: int | None) -> tuple[str, str]:
        """What was found, `name = value`, and where it comes from."""
        what = f"{expression.text} = {shown(value)}"
        if expression.is_name and expression.text in self.values.origins:
            return what, origin_of(expression.text, self.values)
        return what, explain(expression.names, self.values, layer if "layer" in expression.names else None)

    def _report(self, mark: Mark, path: str, message: str, hint: str = "") -> None:
        if (mark, path) not in self._reported:
            self._reported.add((mark, path))
            self.problems.append(mark.problem(path, message, hint))


def varies(form: Form) -> bool:
    """Whether the form can give different values at different layers."""
    return any(isinstance(part, Pattern) or _reads(part, LAYER_NAMES) for part in walk_forms(form))


def _reads(form: Form, names: Collection[str]) -> bool:
    return isinstance(form, Computed) and not form.expression.names.isdisjoint(names)
