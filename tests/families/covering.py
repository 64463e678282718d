"""A few families that together use every word that any family uses.

Building for GPUs costs a trace and an engine each, seconds that a hundred families have no place for in every test run:
`targets_table` does all of them, the tests do these. A spec that brings a new word is among them by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from archc.archspec import load_spec
from archc.archspec.source.catalog import shipped

# What a spec says about checkpoints and sizes is no computation.
_APART = (
    "family",
    "description",
    "source",
    "match",
    "sizes",
    "config",
    "ignore_config",
    "derive",
    "context",
    "weights",
)
# Keys whose values choose operators; other values change numbers, or leave a term out.
_CHOICES = ("kind", "topology", "residual")
# Every kind of engine and of cache, softcaps and sinks, whatever else these cover.
_ALWAYS = ("llama", "bert", "t5", "deepseek-v2", "jamba", "gemma2", "gpt-oss")


@cache
def covering() -> tuple[str, ...]:
    """Their names: greedily the family with the most words that are not covered yet."""
    every = {name: frozenset(words(name)) for name in shipped()}
    chosen = [name for name in _ALWAYS if name in every]
    left = frozenset().union(*every.values()).difference(*(every[name] for name in chosen))
    while left:
        best = max(sorted(every), key=lambda name: len(every[name] & left))
        chosen.append(best)
        left -= every[best]
    return tuple(chosen)


def words(family: str) -> Iterator[str]:
    """What a spec chooses of each kind of part."""
    tree = yaml.safe_load(load_spec(family).text)
    return _words({key: value for key, value in tree.items() if key not in _APART}, "")


def _words(tree: Any, path: str) -> Iterator[str]:
    if isinstance(tree, list):
        for value in tree:
            yield from _words(value, path)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            # A variant is a layer's words once more, and any norm is a norm.
            inner = path if key in ("variants", "encoder") else "norm" if key.endswith("norm") else f"{path}.{key}"
            yield from _words(value, inner)
            plain = isinstance(value, str) and value.replace("-", "").isalpha()
            if key in _CHOICES and plain and "scaling" not in path:
                yield f"{path}={value}"
