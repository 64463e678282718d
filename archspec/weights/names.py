"""Names of a checkpoint's tensors in the spelling of a weight table: prefixes come and go with the class that saves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile

_MAX_WRAPPERS = 4  # components before every name: `module.`, `_orig_mod.`, `base_model.model.`


def spell_names(
    available: Iterable[str], prefixes: Iterable[str], rename: Iterable[tuple[str, str]], expected: Collection[str]
) -> list[tuple[str, str]]:
    """Return pairs of each tensor's name in the checkpoint and its name in the table's spelling, sorted.

    `prefixes` and `rename` are those of the table, `expected` the names that fill the model's slots. Of the spellings
    with and without the prefixes of training wrappers and of the base model, the one with the most expected names is
    returned, and the first of equals.
    """
    originals = sorted(available)
    prefixes, rename = tuple(prefixes), tuple(rename)
    best: list[str] = originals
    most = -1
    for unwrapped in _unwrapped(originals):
        renamed = [_renamed(name, prefixes, rename) for name in unwrapped]
        for names in _with_base(renamed, expected):
            count = sum(name in expected for name in names)
            if count > most:
                best, most = names, count
    return list(zip(originals, best, strict=True))


def _unwrapped(names: list[str]) -> Iterator[list[str]]:
    """Yield the names, and the names without the first components that all of them share."""
    yield names
    for _ in range(_MAX_WRAPPERS):
        if len({name.partition(".")[0] for name in names}) != 1 or not all("." in name for name in names):
            return
        names = [name.partition(".")[2] for name in names]
        yield names


def _renamed(name: str, prefixes: tuple[str, ...], rename: tuple[tuple[str, str], ...]) -> str:
    name = name.removeprefix(next((prefix for prefix in prefixes if name.startswith(prefix)), ""))
    for old, new in rename:
        if name == old or name.endswith("." + old):
            name = name[: len(name) - len(old)] + new
    return name


def _with_base(names: list[str], expected: Collection[str]) -> Iterator[list[str]]:
    """Yield the names, and the names with each first component of the table that no name has, such as `model.`."""
    yield names
    tops = {name.partition(".")[0] for name in expected}
    for top in sorted(tops - {name.partition(".")[0] for name in names}):
        yield [name if name.partition(".")[0] in tops else f"{top}.{name}" for name in names]


def spell_part(
    available: Iterable[str], rename: Iterable[tuple[str, str]], expected: Collection[str]
) -> list[tuple[str, str]]:
    """Return pairs of names as `spell_names` does, for the text model inside a larger one: its tensors alone.

    The body of the text model is where most expected names are: behind a prefix, such as `language_model.`, or with
    a prefix in place of their first component, such as `model.language_model.` for `model.`. A module outside of the
    body, such as the head, is the tensor with its name whose own prefix has most in common with that of the body.
    """
    rename = tuple(rename)
    spelled = {original: _renamed(original, (), rename) for original in sorted(available)}
    prefix, top = _body(spelled.values(), expected)
    ends = [name.removeprefix(top) for name in expected if name.startswith(top)]
    firsts = {end.partition(".")[0] for end in ends}
    is_open = bool(prefix and top)  # every tensor behind the prefix is the text model's
    pairs: dict[str, str] = {}
    outside: dict[str, list[str]] = {}
    for original, name in spelled.items():
        end = name.removeprefix(prefix)
        if name.startswith(prefix) and (is_open or end.partition(".")[0] in firsts):
            pairs[original] = top + end
            continue
        for _, end in _ends(name):
            if end in expected:
                outside.setdefault(end, []).append(original)
    found = set(pairs.values())
    for end, originals in outside.items():
        if end not in found:
            nearest = max(originals, key=lambda name: (_common(name, prefix), -len(name)))
            pairs[nearest] = end
    return sorted(pairs.items())


def _common(first: str, second: str) -> int:
    """Return the number of characters at the start of both texts."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _body(names: Iterable[str], expected: Collection[str]) -> tuple[str, str]:
    """Return the prefix of the body of a text model, and the table's component for which it stands, or an empty one."""
    tops = {rest: f"{top}." for top, _, rest in (name.partition(".") for name in expected) if rest}
    votes = Counter[tuple[str, str]]()
    for name in names:
        for prefix, end in _ends(name):
            if end in expected:
                votes[prefix, ""] += 1
            if end in tops and "." in end:  # `weight` alone is the end of every name
                votes[prefix, tops[end]] += 1
    return max(votes, key=lambda vote: votes[vote], default=("", ""))


def _ends(name: str) -> Iterator[tuple[str, str]]:
    """Yield the name's prefix and its end, cut before each component."""
    yield "", name
    for index, character in enumerate(name):
        if character == ".":
            yield name[: index + 1], name[index + 1 :]
