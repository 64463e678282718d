"""Names of a checkpoint's tensors in the spelling of a weight table: prefixes come and go with the class that saves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

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
