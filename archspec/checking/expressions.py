"""Expressions over config names, such as `hidden_size // num_attention_heads`.

Python's parser reads the text, a list of allowed node types checks the tree, and an interpreter in this file evaluates
it; nothing is passed to `eval`. Length, depth and every number are bounded, so that evaluation takes bounded time.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from archc.archspec.checking.functions import FUNCTIONS, ExpressionError, bounded, number, power, truth
from archc.archspec.errors import clip, did_you_mean, format_list, format_value, join_hints

MAX_LENGTH = 1000
MAX_DEPTH = 50

CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "none": None, "null": None}


# Names with a fixed meaning in expressions; a spec cannot declare them.
RESERVED = (
    frozenset(CONSTANTS) | frozenset(FUNCTIONS) | {"layer", "layers", "and", "or", "not", "in", "is", "if", "else"}
)

_BINARY: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: power,
}
_ORDER: Mapping[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUALITY: tuple[type[ast.AST], ...] = (ast.Eq, ast.NotEq)
_MEMBERSHIP: tuple[type[ast.AST], ...] = (ast.In, ast.NotIn)


@dataclass(frozen=True)
class Expression:
    """A parsed expression and the names that it reads."""

    text: str
    names: frozenset[str]
    tree: ast.expr

    @property
    def is_name(self) -> bool:
        """Return whether the expression is a single name."""
        return isinstance(self.tree, ast.Name) and bool(self.names)

    @property
    def is_constant(self) -> bool:
        """Return whether the expression is a single literal."""
        return isinstance(self.tree, ast.Constant)

    def evaluate(self, names: Mapping[str, Any]) -> Any:
        """Return the value, with `names` as the values of names. Raises ExpressionError if it has none."""
        try:
            return _evaluate(self.tree, names)
        except ExpressionError:
            raise
        except ZeroDivisionError:
            raise ExpressionError("division by zero") from None
        except (ArithmeticError, ValueError) as error:
            raise ExpressionError(f"cannot be computed: {error}") from None


def parse(text: str) -> Expression:
    """Parse text. Raises ExpressionError for anything outside the expression language."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"invalid expression: {clip(error.msg)}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ExpressionError("invalid expression") from None
    names: set[str] = set()
    _check(tree, 0, names)
    return Expression(text.strip(), frozenset(names), tree)


def _check(node: ast.expr, depth: int, names: set[str]) -> None:
    """Raise ExpressionError for node types outside the language; collect the names that are read."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"the expression has more than {MAX_DEPTH} levels of nesting")
    children: list[ast.expr] = []
    match node:
        case ast.Constant(value=value):
            if value is not None and not isinstance(value, bool | int | float | str):
                raise ExpressionError(f"the literal {clip(str(value))} is not supported")
            bounded(value)
        case ast.Name(id=name):
            if name in FUNCTIONS:
                raise ExpressionError(f"the function {name} has no arguments")
            if name not in CONSTANTS:
                names.add(name)
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) not in _BINARY:
                raise ExpressionError("the operator is not supported", "supported: + - * / // % **")
            children = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
            children = [operand]
        case ast.BoolOp(values=values):
            children = values
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            if any(type(op) not in (*_ORDER, *_EQUALITY, *_MEMBERSHIP) for op in ops):
                raise ExpressionError("'is' is not supported", "compare with ==")
            children = [left, *comparators]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            children = [test, body, orelse]
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            children = elements
        case ast.Subscript(value=value, slice=index) if not isinstance(index, ast.Slice):
            children = [value, index]
        case ast.Call(func=function, args=arguments, keywords=keywords):
            _check_call(function, len(arguments), bool(keywords))
            children = arguments
        case _:
            raise ExpressionError(
                f"{_construct(node)} is not supported", "supported: names, literals, operators, indexing and functions"
            )
    for child in children:
        _check(child, depth + 1, names)


def _check_call(function: ast.expr, count: int, keywords: bool) -> None:
    name = function.id if isinstance(function, ast.Name) else ""
    if name not in FUNCTIONS:
        hint = join_hints(did_you_mean(name, FUNCTIONS), f"functions: {format_list(sorted(FUNCTIONS))}")
        message = f"unknown function '{clip(name)}'" if name else "a call of a computed function is not supported"
        raise ExpressionError(message, hint)
    least, most = FUNCTIONS[name].min_args, FUNCTIONS[name].max_args
    if keywords or not least <= count <= most:
        expected = f"{least}" if least == most else f"{least} to {most}"
        plural = "" if expected == "1" else "s"
        actual = "keyword arguments" if keywords else str(count)
        raise ExpressionError(f"{name} expects {expected} argument{plural}, got {actual}")


def _construct(node: ast.expr) -> str:
    """Return the name of a construct that is not supported."""
    names = {
        ast.Attribute: "an attribute (a.b)",
        ast.Lambda: "lambda",
        ast.JoinedStr: "an f-string",
        ast.Dict: "a mapping literal",
        ast.Subscript: "a slice",
        ast.Starred: "'*'",
        ast.Set: "a set",
        ast.NamedExpr: "':='",
        ast.UnaryOp: "'~'",
    }
    return names.get(type(node), "this construct")


def _evaluate(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return CONSTANTS[name] if name in CONSTANTS else _look_up(name, names)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = number(_evaluate(left, names)), number(_evaluate(right, names))
            return bounded(_BINARY[type(op)](a, b))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not truth(_evaluate(operand, names))
        case ast.UnaryOp(op=op, operand=operand):
            value = number(_evaluate(operand, names))
            return -value if isinstance(op, ast.USub) else value
        case ast.BoolOp(op=op, values=values):
            result: Any = None
            for item in values:
                result = _evaluate(item, names)
                if truth(result) is isinstance(op, ast.Or):
                    break
            return result
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            a = _evaluate(left, names)
            for operation, right in zip(ops, comparators, strict=True):
                b = _evaluate(right, names)
                if not _compare(operation, a, b):
                    return False
                a = b
            return True
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _evaluate(body if truth(_evaluate(test, names)) else orelse, names)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_evaluate(element, names) for element in elements]
        case ast.Subscript(value=container, slice=index):
            return _item(_evaluate(container, names), _evaluate(index, names))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return bounded(FUNCTIONS[name].call(*(_evaluate(argument, names) for argument in arguments)))
    raise ExpressionError("invalid expression")


def _look_up(name: str, names: Mapping[str, Any]) -> Any:
    if name not in names:
        raise ExpressionError(f"the name '{clip(name)}' has no value")
    return names[name]


def _compare(operation: ast.cmpop, a: Any, b: Any) -> bool:
    if isinstance(operation, ast.Eq | ast.NotEq):
        return _equal(a, b) is isinstance(operation, ast.Eq)
    if isinstance(operation, ast.In | ast.NotIn):
        if isinstance(a, str) and isinstance(b, str):
            return (a in b) is isinstance(operation, ast.In)
        if not isinstance(b, list | tuple | Mapping):
            raise ExpressionError(f"expected a list or a mapping after 'in', got {format_value(b)}")
        return any(_equal(a, item) for item in b) is isinstance(operation, ast.In)
    return _ORDER[type(operation)](number(a), number(b))


def _equal(a: Any, b: Any) -> bool:
    """Return whether two values are equal; true and 1 are not."""
    return isinstance(a, bool) is isinstance(b, bool) and bool(a == b)


def _item(container: Any, index: Any) -> Any:
    if isinstance(container, list | tuple | str):
        kind = "text" if isinstance(container, str) else "a list"
        if isinstance(index, bool) or not isinstance(index, int):
            raise ExpressionError(f"expected an integer as index of {kind}, got {format_value(index)}")
        if not 0 <= index < len(container):
            raise ExpressionError(f"index {index} is out of range for {kind} of {len(container)}")
        return container[index]
    if isinstance(container, Mapping):
        if not isinstance(index, str):
            raise ExpressionError(f"expected text as key of a mapping, got {format_value(index)}")
        if index not in container:
            raise ExpressionError(f"key {format_value(index)} not found in {format_value(dict(container))}")
        return container[index]
    raise ExpressionError(f"expected a list, a mapping or text before '[', got {format_value(container)}")
