"""A few families that together use every word of the vocabulary that any family uses.

A build for a GPU target takes a trace and an engine each, too many seconds for a hundred families in every test run.
`targets_table` builds all families, the tests build these. A spec that uses a new word joins them automatically.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from archc.archspec import load_spec
from archc.archspec.source.catalog import shipped

# Keys of a spec that describe checkpoints and sizes, not the computation.
_NOT_COMPUTATION = {
    "config",
    "context",
    "derive",
    "description",
    "family",
    "ignore_config",
    "match",
    "sizes",
    "source",
    "weights",
}
# Keys whose values choose operators; values of other keys change numbers or omit a term.
_CHOICES = ("kind", "topology", "residual")
# One family for each kind of engine and of cache, for softcaps and for sinks, in addition to the greedy choice.
_ALWAYS = ("llama", "bert", "t5", "deepseek-v2", "jamba", "gemma2", "gpt-oss")


@cache
def covering() -> tuple[str, ...]:
    """Return their names: greedily, the family with the most words that are not covered yet."""
    every = {name: frozenset(words(name)) for name in shipped()}
    chosen = [name for name in _ALWAYS if name in every]
    left = frozenset().union(*every.values()).difference(*(every[name] for name in chosen))
    while left:
        best = max(sorted(every), key=lambda name: len(every[name] & left))
        chosen.append(best)
        left -= every[best]
    return tuple(chosen)


def words(family: str) -> Iterator[str]:
    """Yield the words of a spec's computation, as paths."""
    tree = yaml.safe_load(load_spec(family).text)
    return _words({key: value for key, value in tree.items() if key not in _NOT_COMPUTATION}, "")


def _words(tree: Any, path: str) -> Iterator[str]:
    if isinstance(tree, list):
        for value in tree:
            yield from _words(value, path)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            # A variant has the words of a layer, and all norms have the same words.
            inner = path if key in ("variants", "encoder") else "norm" if key.endswith("norm") else f"{path}.{key}"
            yield from _words(value, inner)
            plain = isinstance(value, str) and value.replace("-", "").isalpha()
            if key in _CHOICES and plain and "scaling" not in path:
                yield f"{path}={value}"
