"""A few families that together use every word that any family uses.

Building for GPUs costs a trace and an engine each, seconds that a hundred families have no place for in every test run:
`targets_table` does all of them, the tests do these. A spec that brings a new word is among them by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from archspec import load_spec
from archspec.catalog import shipped

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
# Keys that change numbers or leave a term out, and no operator that engines could lack.
_NUMBERS = (
    "activation", "beta", "bias", "branch_scale", "clip", "count", "eps", "factor", "head_dim", "kv_heads", "limit",
    "max_bias", "multiplier", "offset", "rank", "scale", "scaled", "scaling", "slopes", "step_rank", "theta", "tie",
    "token_types", "unit_offset", "up_offset", "weights", "when", "width",
)  # fmt: skip
# Every kind of engine and of cache, whatever else they cover.
_ALWAYS = ("llama", "bert", "t5", "deepseek-v2", "jamba")


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
    """The keys that a spec uses, and the values that are words and no names of sizes."""
    spec = load_spec(family)
    tree = yaml.safe_load(spec.text)
    computed = {key: value for key, value in tree.items() if key not in _APART}
    names = set(tree.get("config", {}) or {})
    return _words(computed, "", names)


def _words(tree: Any, path: str, names: set[str]) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            # A variant is a layer's words once more.
            if key not in _NUMBERS:
                yield from _words(value, path if key == "variants" else f"{path}.{key}", names)
    elif isinstance(tree, list):
        for value in tree:
            yield from _words(value, path, names)
    elif tree != "none":
        yield path
        if isinstance(tree, str) and tree.replace("-", "").replace("_", "").isalpha() and tree not in names:
            yield f"{path}={tree}"
