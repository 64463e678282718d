"""Checks a raw YAML tree against the vocabulary and reports every fault at once."""

from __future__ import annotations

from collections.abc import Collection

from archc.archspec.checking.checked_nodes import Computed, Constant, Form, Group, Pattern, Row
from archc.archspec.checking.expressions import Expression, ExpressionError, parse
from archc.archspec.checking.word_schema import LeafShape, SectionShape, Shape, fields_of, kind_error
from archc.archspec.errors import Problem, clipped, did_you_mean, hints, listed, nearest, shown
from archc.archspec.source.yaml_tree import Items, Mark, Node, Scalar, Table, join
from archc.archspec.vocabulary import PER_LAYER, Word, differs_by_layer

LAYER_NAMES = ("layer", "layers")
_NOT_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class Checker:
    """Walks a tree along the vocabulary; faults go to `problems`.

    `names` are what expressions may read. Without names (None) the tree is a value from a config file, in which text
    is only ever text.
    """

    def __init__(self, names: Collection[str] | None, problems: list[Problem]) -> None:
        self.names = names
        self.problems = problems

    def check(self, node: Node, shape: Shape, path: str, per_layer: bool = False, in_list: bool = False) -> Form | None:
        """The form of a tree at a place of this shape, or None after a problem was reported."""
        per_layer = per_layer or differs_by_layer(path)
        if isinstance(shape, LeafShape):
            if isinstance(node, Items) and shape.item is not None:
                return self._row(node, shape, shape.item, path, per_layer)
            if isinstance(node, Items):
                return self._pattern(node, shape, path, per_layer, in_list)
            return self._leaf(node, shape, path, per_layer)
        if isinstance(node, Items):
            return self._pattern(node, shape, path, per_layer, in_list)
        if isinstance(node, Scalar):
            return self._short_section(node, shape, path, per_layer)
        return self._section(node, shape, path, per_layer, in_list)

    def expression(self, text: str, mark: Mark, path: str, per_layer: bool = False) -> Expression | None:
        """Text as an expression whose every name is known, or None after a problem was reported."""
        try:
            expression = parse(text)
        except ExpressionError as error:
            self._report(mark, path, f"{shown(text)}: {error}", error.hint)
            return None
        known = self._known(per_layer)
        unknown = sorted(expression.names - set(known))
        for name in unknown:
            self.problems.append(mark.problem(path, *self._unknown_name(name, expression, known)))
        return None if unknown else expression

    def group(
        self, node: Table, word: type[Word], path: str, per_layer: bool = False, in_list: bool = False
    ) -> Group | None:
        """The form of a section whose class is known, or None after a problem was reported."""
        fields = fields_of(word)
        forms: dict[str, Form] = {}
        before = len(self.problems)
        for key, child in node.entries.items():
            if key in fields:
                form = self.check(child, fields[key].shape, join(path, key), per_layer, in_list)
                if form is not None:
                    forms[key] = form
            elif key != "kind" or "kind" not in word.model_fields:
                self._unknown_key(key, node.keys[key], word, path)
        for name, field in fields.items():
            if field.required and name not in node.entries:
                about = f" ({field.description.rstrip('.')})" if field.description else ""
                self._report(node.mark, path, f"the key '{name}' is missing{about}", f"it is {field.shape.expected}")
        return Group(word, forms, node.mark, path) if len(self.problems) == before else None

    def _report(self, mark: Mark, path: str, message: str, hint: str = "") -> Form | None:
        """Notes a problem, and gives the form of what is wrong: none."""
        self.problems.append(mark.problem(path, message, hint))
        return None

    def _known(self, per_layer: bool) -> list[str]:
        return [*(self.names or ()), *(LAYER_NAMES if per_layer else ())]

    def _section(self, node: Table, shape: SectionShape, path: str, per_layer: bool, in_list: bool) -> Form | None:
        if not shape.kinds:
            return self.group(node, shape.classes[None], path, per_layer, in_list)
        kind_node = node.get("kind")
        if kind_node is None and shape.default_kind is not None:
            return self.group(node, shape.classes[shape.default_kind], path, per_layer, in_list)
        if kind_node is None:
            return self._report(node.mark, path, "the key 'kind' is missing", f"allowed: {listed(shape.kinds)}")
        kind = kind_node.value if isinstance(kind_node, Scalar) else None
        if kind is None and isinstance(kind_node, Scalar) and "none" in shape.kinds:
            kind = "none"
        if not isinstance(kind, str) or kind not in shape.kinds:
            found = kind if isinstance(kind_node, Scalar) else "a list or mapping"
            return self._report(
                kind_node.mark, join(path, "kind"), kind_error(found, shape.kinds), did_you_mean(str(kind), shape.kinds)
            )
        return self.group(node, shape.classes[kind], path, per_layer, in_list)

    def _short_section(self, node: Scalar, shape: SectionShape, path: str, per_layer: bool) -> Form | None:
        """A section written as one word: a kind, a boolean for all of its flags, or an expression."""
        value = node.value
        if value is None and shape.nullable:
            return Constant(None, node.mark, path)
        kind = "none" if value is None else value
        if isinstance(kind, str) and kind in shape.kinds:
            empty = Table({}, {}, node.mark)
            return self.group(empty, shape.classes[kind], path, per_layer)
        if isinstance(value, bool) and shape.flags:
            flags: dict[str, Form] = {flag: Constant(value, node.mark, join(path, flag)) for flag in shape.flags}
            return Group(shape.classes[None], flags, node.mark, path)
        if isinstance(value, str) and self.names is not None:
            if (not shape.kinds or self._reads_known_names(value, per_layer)) and not _spells_boolean(value):
                expression = self.expression(value, node.mark, path, per_layer)
                return Computed(expression, shape, node.mark, path) if expression is not None else None
            if shape.kinds:
                near = did_you_mean(value, [*shape.kinds, *self._known(per_layer)])
                return self._report(node.mark, path, kind_error(value, shape.kinds), near)
        boolean = _boolean_hint(value) if shape.flags else ""
        return self._report(node.mark, path, f"{shown(value)} where {shape.expected} is expected", boolean)

    def _pattern(self, node: Items, shape: Shape, path: str, per_layer: bool, in_list: bool) -> Form | None:
        if self.names is None or in_list:
            return self._report(node.mark, path, f"a list where {shape.expected} is expected")
        if not per_layer:
            hint = f"only these vary by layer: {listed(PER_LAYER)}"
            return self._report(node.mark, path, f"a list where {shape.expected} is expected", hint)
        if not node.items:
            return self._report(node.mark, path, "an empty list", f"it holds {shape.expected} for each layer")
        forms = [self.check(item, shape, f"{path}[{i}]", True, True) for i, item in enumerate(node.items)]
        whole = tuple(form for form in forms if form is not None)
        return Pattern(whole, node.mark, path) if len(whole) == len(forms) else None

    def _row(self, node: Items, shape: LeafShape, item: LeafShape, path: str, per_layer: bool) -> Form | None:
        forms = [self._leaf(child, item, f"{path}[{i}]", per_layer) for i, child in enumerate(node.items)]
        whole = tuple(form for form in forms if form is not None)
        return Row(whole, shape, node.mark, path) if len(whole) == len(forms) else None

    def _leaf(self, node: Node, shape: LeafShape, path: str, per_layer: bool) -> Form | None:
        if not isinstance(node, Scalar):
            found = "a mapping" if isinstance(node, Table) else "a list"
            return self._report(node.mark, path, f"{found} where {shape.expected} is expected")
        value = node.value
        if self.names is None or not isinstance(value, str) or shape.admits(value):
            return self._constant(value, shape, node.mark, path)
        if node.quoted and _is_number(value):
            return self._report(node.mark, path, f"{shown(value)} is text, not a number", "write it without quotes")
        if "bool" in shape.types and _spells_boolean(value):
            return self._report(node.mark, path, f"{shown(value)} is text, not a boolean", _boolean_hint(value))
        if shape.words and not self._reads_known_names(value, per_layer):
            near = did_you_mean(value, [*shape.words, *self._known(per_layer)])
            return self._report(node.mark, path, f"{shown(value)} is not {shape.expected}", near)
        expression = self.expression(value, node.mark, path, per_layer)
        if expression is None:
            return None
        if expression.names:
            return Computed(expression, shape, node.mark, path)
        try:
            value = expression.evaluate({})
        except ExpressionError as error:
            return self._report(node.mark, path, f"{shown(expression.text)}: {error}", error.hint)
        return self._constant(value, shape, node.mark, path)

    def _constant(self, value: object, shape: LeafShape, mark: Mark, path: str) -> Form | None:
        try:
            return Constant(shape.validate(value), mark, path)
        except ValueError as error:
            near = did_you_mean(value, shape.words) if isinstance(value, str) else ""
            return self._report(mark, path, f"{shown(value)} {error}", near)

    def _reads_known_names(self, text: str, per_layer: bool) -> bool:
        """Whether text that is none of the allowed words was at least meant as an expression."""
        try:
            expression = parse(text)
        except ExpressionError:
            return False
        return not expression.is_name or expression.names <= set(self._known(per_layer))

    def _unknown_name(self, name: str, expression: Expression, known: list[str]) -> tuple[str, str]:
        where = "" if expression.is_name else f" in {shown(expression.text)}"
        if name in LAYER_NAMES:
            return f"'{name}' means nothing here{where}", f"it is known in: {listed(PER_LAYER)}"
        near = nearest(name, known)
        hint = f"did you mean '{near}'?" if near else "`config:` and `derive:` declare the names that a spec may use"
        return f"the name '{clipped(name)}' is not known{where}", hint

    def _unknown_key(self, key: str, mark: Mark, word: type[Word], path: str) -> None:
        allowed = list(fields_of(word))
        kind = word.model_fields["kind"].default if "kind" in word.model_fields else None
        owner = f" of {kind}" if kind is not None else ""
        choices = f"allowed: {listed(allowed)}" if allowed else f"'{kind}' has no keys"
        self._report(
            mark, join(path, key), f"unknown key '{clipped(key)}'{owner}", hints(did_you_mean(key, allowed), choices)
        )


def _is_number(text: str) -> bool:
    try:
        return parse(text).is_constant and text.strip() not in ("none", "null", "true", "false")
    except ExpressionError:
        return False


def _spells_boolean(text: str) -> bool:
    return text.lower() in _NOT_BOOLEANS


def _boolean_hint(value: object) -> str:
    if isinstance(value, str) and _spells_boolean(value):
        return f"write {_NOT_BOOLEANS[value.lower()]}; YAML 1.2 has only true and false"
    return ""
