"""The condition `match.where` of a header, an expression over the keys of config.json."""

from __future__ import annotations

from archc.archspec.checking.expressions import Expression, parse
from archc.archspec.checking.functions import ExpressionError
from archc.archspec.errors import Problem, format_value
from archc.archspec.source.header import Header


def match_condition(header: Header, problems: list[Problem]) -> Expression | None:
    """Return the parsed condition, or None without one; append a problem if it is not an expression.

    A key that a config lacks is none; the name `tokenizer_config` is the content of tokenizer_config.json.
    """
    node = header.where
    if node is None:
        return None
    try:
        return parse(str(node.value))
    except ExpressionError as error:
        message = f"{format_value(str(node.value))}: {error}"
        problems.append(node.mark.problem("match.where", message, error.hint))
        return None
