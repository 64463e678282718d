"""Traced strings: text that records which of its characters come from an untrusted input, through a chat template.

Imported by chat_worker.py alone, in a process without this package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from types import FunctionType
from typing import Any, SupportsIndex

_PLACEHOLDER = "\U0002a6df"  # an unassigned character
_CASES = ("capitalize", "casefold", "lower", "swapcase", "title", "upper")
# Not `format` and `format_map`, because the sandbox replaces them: their results have no mask.
_OTHERS = ("center", "expandtabs", "ljust", "rjust", "translate", "zfill")
# Filters that return their inputs or parts of them, or call one method of a string.
_SELECTING = ("attr", "batch", "d", "default", "first", "groupby", "items", "last", "list", "map", "max", "min")
_ORDERING = ("dictsort", "random", "reject", "rejectattr", "reverse", "select", "selectattr", "slice", "sort", "unique")
_METHODS = ("count", "length", "lower", "replace", "sum", "trim", "upper")
_STRUCTURAL = frozenset({*_SELECTING, *_ORDERING, *_METHODS})


class Traced(str):
    """A string with a mask of a byte for each character, 1 for an untrusted one; without a mask all are."""

    _mask: bytes | None = None

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> str:
        return concat([self, other]) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return concat([other, self])

    def __mul__(self, count: SupportsIndex) -> str:
        return traced(str.__mul__(self, count), mask_of(self) * count)

    __rmul__ = __mul__

    def __mod__(self, values: Any) -> str:
        text: str = masked(str.__mod__, self, values)
        return text

    def __rmod__(self, form: str) -> str:
        text: str = masked(str.__mod__, form, self)
        return text

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        mask = mask_of(self)[key]
        return traced(str.__getitem__(self, key), mask if isinstance(mask, bytes) else bytes([mask]))

    def __iter__(self) -> Iterator[str]:
        return map(traced, str.__iter__(self), (bytes([byte]) for byte in mask_of(self)))

    def lstrip(self, chars: str | None = None) -> str:
        """Return the text without leading characters."""
        return self[len(self) - len(str.lstrip(self, chars)) :]

    def rstrip(self, chars: str | None = None) -> str:
        """Return the text without trailing characters."""
        return self[: len(str.rstrip(self, chars))]

    def strip(self, chars: str | None = None) -> str:
        """Return the text without leading and trailing characters."""
        return self.lstrip(chars).rstrip(chars)

    def removeprefix(self, prefix: str) -> str:
        """Return the text without a prefix."""
        return self[len(prefix) :] if self.startswith(prefix) else self

    def removesuffix(self, suffix: str) -> str:
        """Return the text without a suffix."""
        return self[: len(self) - len(suffix)] if suffix and self.endswith(suffix) else self

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """Return the parts between separators."""
        return self._parts(str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """Return the parts between separators, the last ones if there are too many."""
        return self._parts(str.rsplit(self, sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        """Return the lines."""
        lines, at = list[str](), 0
        for line, whole in zip(str.splitlines(self), str.splitlines(self, keepends=True), strict=True):
            lines.append(self[at : at + len(whole if keepends else line)])
            at += len(whole)
        return lines

    def partition(self, sep: str) -> tuple[str, str, str]:
        """Return the text before, at and after the first separator."""
        head, found, _ = str.partition(self, sep)
        return self[: len(head)], self[len(head) : len(head) + len(found)], self[len(head) + len(found) :]

    def rpartition(self, sep: str) -> tuple[str, str, str]:
        """Return the text before, at and after the last separator."""
        head, found, _ = str.rpartition(self, sep)
        return self[: len(head)], self[len(head) : len(head) + len(found)], self[len(head) + len(found) :]

    def replace(self, old: str, new: str, count: SupportsIndex = -1) -> str:
        """Return the text with `new` for each `old`."""
        if not old:
            return untrusted(str.replace(self, old, new, count))
        return join(new, self.split(old, count))

    def join(self, parts: Iterable[str]) -> str:
        """Return the parts with this text between them."""
        return join(self, parts)

    def _parts(self, parts: list[str], sep: str | None) -> list[str]:
        result, at = list[str](), 0
        for part in parts:
            at = str.find(self, part, at) if sep is None else at
            result.append(self[at : at + len(part)])
            at += len(part) + len(sep or "")
        return result


def traced(text: str, mask: bytes) -> str:
    """Return a string with a mask."""
    result = str.__new__(Traced, text)
    result._mask = mask
    return result


def untrusted(text: str) -> str:
    """Return a string whose characters are all untrusted."""
    return traced(text, b"\1" * len(text))


def mask_of(text: str) -> bytes:
    """Return the mask of a string; a plain one is trusted."""
    if not isinstance(text, Traced):
        return bytes(len(text))
    return b"\1" * len(text) if text._mask is None else text._mask


def concat(parts: Iterable[Any]) -> str:
    """Return the joined parts: jinja2's function for outputs, and for the operator `~`."""
    return join("", map(text_of, parts))


def text_of(value: Any) -> str:
    """Return the text of an output: that of a list or another object is untrusted if its parts are."""
    return value if isinstance(value, str) else masked(str, value)


def join(separator: str, parts: Iterable[str]) -> str:
    """Return the parts with a separator between them."""
    items = list(parts)
    text = str.join(separator, items)
    if not any(isinstance(item, Traced) for item in (separator, *items)):
        return text
    return traced(text, mask_of(separator).join(map(mask_of, items)))


def trace(value: Any) -> Any:
    """Return JSON-like `value` with untrusted strings."""
    if isinstance(value, str):
        return untrusted(value)
    if isinstance(value, dict):
        return {trace(key): trace(item) for key, item in value.items()}
    return [trace(item) for item in value] if isinstance(value, list) else value


def is_untrusted(value: Any) -> bool:
    """Return whether a character in `value` is untrusted."""
    if isinstance(value, str):
        return any(mask_of(value))
    if isinstance(value, Mapping):
        return any(map(is_untrusted, value)) or any(map(is_untrusted, value.values()))
    return isinstance(value, Sequence | Set | ValuesView) and any(map(is_untrusted, value))


def masked(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """Return the result of a function that ignores masks, with a mask if it is a string.

    A second call, with a placeholder for each untrusted character, shows the places of these characters. If the
    function does more than copy them, the whole result is untrusted.
    """
    args, keywords = tuple(map(_listed, args)), {name: _listed(value) for name, value in keywords.items()}
    result = function(*map(_plain, args), **_plain(keywords))
    if not isinstance(result, str) or not is_untrusted([args, keywords]):
        return result
    shadow = function(*map(_hidden, args), **_hidden(keywords))
    is_copy = isinstance(shadow, str) and len(shadow) == len(result)
    if not is_copy or any(b not in (a, _PLACEHOLDER) for a, b in zip(result, shadow, strict=True)):
        return untrusted(result)
    return traced(result, bytes(char == _PLACEHOLDER for char in shadow))


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, Iterator | Set | ValuesView) else value


def _replace_strings(replace: Callable[[Traced], str], value: Any) -> Any:
    """Return `value` with other strings for the traced ones in it."""
    if isinstance(value, Traced):
        return replace(value)
    if isinstance(value, dict):
        return {_replace_strings(replace, key): _replace_strings(replace, item) for key, item in value.items()}
    return type(value)(_replace_strings(replace, item) for item in value) if type(value) in (list, tuple) else value


def _plain(value: Any) -> Any:
    return _replace_strings(lambda text: str.__getitem__(text, slice(None)), value)


def _hidden(value: Any) -> Any:
    def hide(text: Traced) -> str:
        pairs = zip(str.__iter__(text), mask_of(text), strict=True)
        return "".join(_PLACEHOLDER if is_untrusted else char for char, is_untrusted in pairs)

    return _replace_strings(hide, value)


def traced_environment(sandbox: type[Any]) -> type[Any]:
    """Return a subclass of jinja2's sandbox whose operations keep track of untrusted characters."""
    from jinja2 import runtime

    vars(runtime)["str_join"] = concat  # compiled templates import it by name

    class TracedSandbox(sandbox):  # type: ignore[misc]
        """A sandbox for traced strings."""

        intercepted_binops = frozenset({"%"})  # `"…" % (text,)` has no method of the tuple's strings

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            operation = super().call_binop
            return masked(lambda *operands: operation(context, operator, *operands), left, right)

        def call(__self, __context: Any, __obj: Any, *args: Any, **keywords: Any) -> Any:  # noqa: N805
            owner = getattr(__obj, "__self__", None)
            if isinstance(owner, str) and __obj.__name__ == "join" and len(args) == 1:
                return join(owner, args[0])  # `"".join(texts)`
            call = functools.partial(super().call, __context, __obj)
            if isinstance(owner, str) or isinstance(__obj, FunctionType):
                return masked(call, *args, **keywords)
            return call(*args, **keywords)  # not so `{"user": "<|user|>"}.get(role)`, a text of the template

    TracedSandbox.concat = staticmethod(concat)
    return TracedSandbox


def trace_filters(filters: dict[str, Callable[..., Any]]) -> None:
    """Replace jinja2's filters of strings by functions that keep track of untrusted characters."""
    from jinja2 import pass_environment
    from jinja2.filters import make_attrgetter

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def traced_filter(*args: Any, **keywords: Any) -> Any:
            return masked(function, *args, **keywords)

        return traced_filter

    @pass_environment
    def join_filter(environment: Any, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
        return join(str(d), map(text_of, items))

    exact: dict[str, Callable[..., Any]] = {"join": join_filter, "string": text_of}
    for name, function in filters.items():
        if name not in _STRUCTURAL:
            filters[name] = exact[name] if name in exact else wrap(function)


def spans(text: str) -> list[tuple[int, int]]:
    """Return the ranges of untrusted characters."""
    mask, ranges, end = mask_of(text), list[tuple[int, int]](), 0
    while (begin := mask.find(1, end)) >= 0:
        end = mask.find(0, begin)
        end = len(mask) if end < 0 else end
        ranges.append((begin, end))
    return ranges


def _keep_mask(name: str) -> Callable[..., str]:
    def method(self: Traced) -> str:
        text: str = getattr(str, name)(self)
        return traced(text, mask_of(self)) if len(text) == len(self) else untrusted(text)

    return method


def _copy_mask(name: str) -> Callable[..., str]:
    def method(self: Traced, *args: Any, **keywords: Any) -> str:
        text: str = masked(getattr(str, name), self, *args, **keywords)
        return text

    return method


for _name in _CASES:
    setattr(Traced, _name, _keep_mask(_name))
for _name in _OTHERS:
    setattr(Traced, _name, _copy_mask(_name))
