"""The checker of YAML trees against the schemas of the vocabulary; it reports every problem."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from archc.archspec.checking.checked_nodes import (
    CheckedNode,
    CheckedSection,
    Computed,
    Constant,
    LayerPattern,
    ListValue,
)
from archc.archspec.checking.expressions import Expression, parse
from archc.archspec.checking.functions import ExpressionError
from archc.archspec.errors import (
    Problem,
    clip,
    closest_match,
    did_you_mean,
    format_list,
    format_value,
    join_hints,
)
from archc.archspec.source.nodes import ListNode, MappingNode, Mark, Node, ScalarNode, empty_mapping, join_path
from archc.archspec.vocabulary import PER_LAYER, Section, differs_by_layer
from archc.archspec.vocabulary.schema import Schema, SectionSchema, ValueSchema, keys_of, kind_of

LAYER_NAMES = ("layer", "layers")
_BOOLEAN_SPELLINGS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class Checker:
    """Checker of YAML trees; appends problems to `problems`.

    `names` are the names that expressions may read; those of `by_layer` have a value for each layer. Without names
    (None) the tree is a value of a config.json, in which a string is never an expression.
    """

    def __init__(
        self, names: Collection[str] | None, problems: list[Problem], by_layer: Collection[str] = frozenset()
    ) -> None:
        self.names = names
        self.problems = problems
        self.by_layer = by_layer

    def check(
        self, node: Node, schema: Schema, path: str, per_layer: bool = False, in_list: bool = False
    ) -> CheckedNode | None:
        """Return the checked node of a tree, or None after reporting a problem.

        `per_layer`: the place may differ from layer to layer. `in_list`: the node is an item of a layer pattern.
        """
        per_layer = per_layer or differs_by_layer(path)
        if isinstance(schema, ValueSchema):
            if isinstance(node, ListNode) and schema.item is not None:
                return self._list_value(node, schema, schema.item, path, per_layer)
            if isinstance(node, ListNode):
                return self._layer_pattern(node, schema, path, per_layer, in_list)
            return self._value(node, schema, path, per_layer)
        if isinstance(node, ListNode):
            return self._layer_pattern(node, schema, path, per_layer, in_list)
        if isinstance(node, ScalarNode):
            return self._short_section(node, schema, path, per_layer)
        return self._section_by_kind(node, schema, path, per_layer, in_list)

    def expression(self, text: str, mark: Mark, path: str, per_layer: bool = False) -> Expression | None:
        """Parse text as an expression over known names; return None after reporting a problem.

        An expression that reads a name with a value for each layer reads `layer` and `layers`, too.
        """
        try:
            expression = parse(text)
        except ExpressionError as error:
            self._report(mark, path, f"{format_value(text)}: {error}", error.hint)
            return None
        known = self.known_names(per_layer)
        unknown = sorted(expression.names - set(known))
        for name in unknown:
            self.problems.append(mark.problem(path, *self._unknown_name(name, expression, known)))
        if unknown:
            return None
        varies = not expression.names.isdisjoint(self.by_layer)
        return replace(expression, names=expression.names.union(LAYER_NAMES)) if varies else expression

    def section(
        self, node: MappingNode, section: type[Section], path: str, per_layer: bool = False, in_list: bool = False
    ) -> CheckedSection | None:
        """Return the checked node of a mapping of a known class, or None after reporting a problem."""
        keys = keys_of(section)
        fields: dict[str, CheckedNode] = {}
        problem_count = len(self.problems)
        for key, child in node.entries.items():
            if key in keys:
                checked = self.check(child, keys[key].schema, join_path(path, key), per_layer, in_list)
                if checked is not None:
                    fields[key] = checked
            elif key != "kind" or kind_of(section) is None:
                self._unknown_key(key, node.key_marks[key], section, path)
        for name, key_schema in keys.items():
            if key_schema.required and name not in node.entries:
                description = f" ({key_schema.description.rstrip('.')})" if key_schema.description else ""
                hint = f"expected {key_schema.schema.expected}"
                self._report(node.mark, path, f"missing key '{name}'{description}", hint)
        return CheckedSection(section, fields, node.mark, path) if len(self.problems) == problem_count else None

    def _report(self, mark: Mark, path: str, message: str, hint: str = "") -> CheckedNode | None:
        """Append a problem and return None, the result of a failed check."""
        self.problems.append(mark.problem(path, message, hint))
        return None

    def known_names(self, per_layer: bool) -> list[str]:
        """Return the names that an expression may read, `per_layer` where a layer is known."""
        if per_layer:
            return [*(self.names or ()), *LAYER_NAMES]
        return [name for name in self.names or () if name not in self.by_layer]

    def _section_by_kind(
        self, node: MappingNode, schema: SectionSchema, path: str, per_layer: bool, in_list: bool
    ) -> CheckedNode | None:
        if not schema.kinds:
            return self.section(node, schema.classes[None], path, per_layer, in_list)
        kind_node = node.get("kind")
        if kind_node is None and schema.default_kind is not None:
            return self.section(node, schema.classes[schema.default_kind], path, per_layer, in_list)
        if kind_node is None:
            return self._report(node.mark, path, "missing key 'kind'", f"allowed: {format_list(schema.kinds)}")
        kind = kind_node.value if isinstance(kind_node, ScalarNode) else None
        if kind is None and isinstance(kind_node, ScalarNode) and "none" in schema.kinds:
            kind = "none"
        if not isinstance(kind, str) or kind not in schema.kinds:
            actual = format_value(kind) if isinstance(kind_node, ScalarNode) else "a list or mapping"
            message = f"expected one of {format_list(schema.kinds)}, got {actual}"
            return self._report(kind_node.mark, join_path(path, "kind"), message, did_you_mean(str(kind), schema.kinds))
        return self.section(node, schema.classes[kind], path, per_layer, in_list)

    def _short_section(self, node: ScalarNode, schema: SectionSchema, path: str, per_layer: bool) -> CheckedNode | None:
        """Check a section in its short form: a kind, one boolean for all of its flags, or an expression."""
        value = node.value
        if value is None and schema.nullable:
            return Constant(None, node.mark, path)
        kind = "none" if value is None else value
        if isinstance(kind, str) and kind in schema.kinds:
            return self.section(empty_mapping(node.mark), schema.classes[kind], path, per_layer)
        if isinstance(value, bool) and schema.flags:
            flags: dict[str, CheckedNode] = {
                flag: Constant(value, node.mark, join_path(path, flag)) for flag in schema.flags
            }
            return CheckedSection(schema.classes[None], flags, node.mark, path)
        if isinstance(value, str) and self.names is not None:
            if (not schema.kinds or self._is_expression(value, per_layer)) and not _is_boolean_spelling(value):
                expression = self.expression(value, node.mark, path, per_layer)
                return Computed(expression, schema, node.mark, path) if expression is not None else None
            if schema.kinds:
                message = f"expected one of {format_list(schema.kinds)}, got {format_value(value)}"
                hint = did_you_mean(value, [*schema.kinds, *self.known_names(per_layer)])
                return self._report(node.mark, path, message, hint)
        hint = _boolean_hint(value) if schema.flags else ""
        return self._report(node.mark, path, f"expected {schema.expected}, got {format_value(value)}", hint)

    def _layer_pattern(
        self, node: ListNode, schema: Schema, path: str, per_layer: bool, in_list: bool
    ) -> CheckedNode | None:
        if self.names is None or in_list:
            return self._report(node.mark, path, f"expected {schema.expected}, got a list")
        if not per_layer:
            hint = f"per-layer sections: {format_list(PER_LAYER)}"
            return self._report(node.mark, path, f"expected {schema.expected}, got a list", hint)
        if not node.items:
            return self._report(node.mark, path, f"expected {schema.expected} per layer, got an empty list")
        items = [self.check(item, schema, f"{path}[{i}]", True, True) for i, item in enumerate(node.items)]
        valid = tuple(item for item in items if item is not None)
        return LayerPattern(valid, node.mark, path) if len(valid) == len(items) else None

    def _list_value(
        self, node: ListNode, schema: ValueSchema, item_schema: ValueSchema, path: str, per_layer: bool
    ) -> CheckedNode | None:
        items = [self._value(child, item_schema, f"{path}[{i}]", per_layer) for i, child in enumerate(node.items)]
        valid = tuple(item for item in items if item is not None)
        return ListValue(valid, schema, node.mark, path) if len(valid) == len(items) else None

    def _value(self, node: Node, schema: ValueSchema, path: str, per_layer: bool) -> CheckedNode | None:
        if not isinstance(node, ScalarNode):
            actual = "a mapping" if isinstance(node, MappingNode) else "a list"
            return self._report(node.mark, path, f"expected {schema.expected}, got {actual}")
        value = node.value
        if value == "none" and not node.quoted and schema.nullable:
            value = None  # also where any text is valid
        if self.names is None or not isinstance(value, str) or schema.is_valid(value):
            return self._constant(value, schema, node.mark, path)
        unexpected = f"expected {schema.expected}, got {format_value(value)}"
        if node.quoted and _is_literal(value):
            message = f"expected a number, got the text {format_value(value)}"
            return self._report(node.mark, path, message, "remove the quotes")
        if "bool" in schema.types and _is_boolean_spelling(value):
            return self._report(node.mark, path, unexpected, _boolean_hint(value))
        if schema.choices and not self._is_expression(value, per_layer):
            hint = did_you_mean(value, [*schema.choices, *self.known_names(per_layer)])
            return self._report(node.mark, path, unexpected, hint)
        expression = self.expression(value, node.mark, path, per_layer)
        if expression is None:
            return None
        if expression.names:
            return Computed(expression, schema, node.mark, path)
        try:
            value = expression.evaluate({})
        except ExpressionError as error:
            return self._report(node.mark, path, f"{format_value(expression.text)}: {error}", error.hint)
        return self._constant(value, schema, node.mark, path)

    def _constant(self, value: object, schema: ValueSchema, mark: Mark, path: str) -> CheckedNode | None:
        try:
            return Constant(schema.validate(value), mark, path)
        except ValueError as error:
            hint = did_you_mean(value, schema.choices) if isinstance(value, str) else ""
            return self._report(mark, path, f"{format_value(value)} {error}", hint)

    def _is_expression(self, text: str, per_layer: bool) -> bool:
        """Return whether text that is not an allowed choice is an expression rather than a misspelled choice."""
        try:
            expression = parse(text)
        except ExpressionError:
            return False
        return not expression.is_name or expression.names <= set(self.known_names(per_layer))

    def _unknown_name(self, name: str, expression: Expression, known: list[str]) -> tuple[str, str]:
        """Return message and hint for a name that is not defined."""
        context = "" if expression.is_name else f" in {format_value(expression.text)}"
        if name in LAYER_NAMES or name in self.by_layer:
            message = f"the name '{name}'{context} is defined in per-layer sections only"
            return message, f"per-layer sections: {format_list(PER_LAYER)}"
        match = closest_match(name, known)
        hint = f"did you mean '{match}'?" if match else "declare it in `config:` or `derive:`"
        return f"unknown name '{clip(name)}'{context}", hint

    def _unknown_key(self, key: str, mark: Mark, section: type[Section], path: str) -> None:
        allowed = list(keys_of(section))
        kind = kind_of(section)
        owner = f" in {kind}" if kind is not None else ""
        choices = f"allowed: {format_list(allowed)}" if allowed else f"'{kind}' has no keys"
        hint = join_hints(did_you_mean(key, allowed), choices)
        self._report(mark, join_path(path, key), f"unknown key '{clip(key)}'{owner}", hint)


def _is_literal(text: str) -> bool:
    try:
        return parse(text).is_constant and text.strip() not in ("none", "null", "true", "false")
    except ExpressionError:
        return False


def _is_boolean_spelling(text: str) -> bool:
    """Return whether the text is a boolean in YAML 1.1, but not in YAML 1.2."""
    return text.lower() in _BOOLEAN_SPELLINGS


def _boolean_hint(value: object) -> str:
    if isinstance(value, str) and _is_boolean_spelling(value):
        return f"write {_BOOLEAN_SPELLINGS[value.lower()]}; in YAML 1.2 only true and false are booleans"
    return ""
