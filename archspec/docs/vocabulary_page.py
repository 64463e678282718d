"""Generator of the vocabulary page: python -m archc.archspec.docs.vocabulary_page > docs/vocabulary.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from archc.archspec.errors import format_list
from archc.archspec.vocabulary import Model, Section, differs_by_layer
from archc.archspec.vocabulary.schema import KeySchema, SectionSchema, keys_of
from archc.archspec.vocabulary.verbs import VERBS

Described = dict[tuple[type[Section], ...], str]
"""The path where each set of kinds has its chapter."""

_HEAD = """\
# Vocabulary

All sections and keys of a spec. This page is generated from the vocabulary classes
(`python -m archc.archspec.docs.vocabulary_page`); see `docs/language.md` for the syntax of specs. Any value may also be
an expression over `config:` names. Sections marked ◇ may differ from layer to layer.
"""


def vocabulary_page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD, "\n## The model\n\n", *_table(Model, "")]
    described: Described = {}
    for key in keys_of(Model).values():
        if isinstance(key.schema, SectionSchema):
            parts += _chapter(key.name, key.schema, 2, described)
    parts.append("\n## Verbs of the weight table\n")
    for name, verb in VERBS.items():
        parts.append(f"\n### `{name}`\n\n{_doc(verb)}\n" + ("\n" if keys_of(verb) else ""))
        parts += _table(verb, "")
    return "".join(parts)


def _chapter(path: str, schema: SectionSchema, depth: int, described: Described, owner: str = "") -> Iterator[str]:
    """Yield the chapter of a section; `owner` is the kind that it belongs to, if another kind has one as well.

    The same kinds are described once, at the first path.
    """
    yield f"\n{'#' * depth} `{path}`{owner}{_layer_sign(path)}\n"
    if schema.kinds:
        default = f". Default: `{schema.default_kind}`" if schema.default_kind is not None else ""
        yield f"\nKinds: {format_list(f'`{kind}`' for kind in schema.kinds)}{default}.\n"
    first = described.setdefault(tuple(schema.classes.values()), path)
    if first != path:
        yield f"\nKeys: those of `{first}`.\n"
        return
    for kind, section in schema.classes.items():
        title = f"\n**`kind: {kind}`**: " if kind is not None else "\n"
        yield f"{title}{_doc(section)}\n"
        if keys_of(section):
            yield "\n"
            yield from _table(section, path)
    documented: dict[str, list[Mapping[str | None, type[Section]]]] = {}
    for kind, section in schema.classes.items():
        for name, key in keys_of(section).items():
            # The sections of an encoder are those of the model, which have chapters already.
            if not isinstance(key.schema, SectionSchema) or path == "encoder":
                continue
            chapters = documented.setdefault(name, [])
            if key.schema.classes not in chapters:
                owner = f" of `{kind}`" if chapters else ""
                chapters.append(key.schema.classes)
                yield from _chapter(f"{path}.{name}", key.schema, min(depth + 1, 5), described, owner)


def _table(section: type[Section], parent: str) -> Iterator[str]:
    if not keys_of(section):
        return
    yield "| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
    for name, key in keys_of(section).items():
        path = f"{parent}.{name}" if parent else name
        meaning = _meaning(key, path).replace("|", "\\|")
        yield f"| `{name}`{_layer_sign(path)} | {key.schema.expected} | {_default(key)} | {meaning} |\n"


def _meaning(key: KeySchema, path: str) -> str:
    """Return the description of a key, or a reference to the chapter of its section."""
    if key.description or not isinstance(key.schema, SectionSchema):
        return key.description
    return f"See `{path.removeprefix('encoder.')}`{'' if path.startswith('encoder.') else ' below'}."


def _layer_sign(path: str) -> str:
    return " ◇" if differs_by_layer(path) else ""


def _default(key: KeySchema) -> str:
    if key.required:
        return "required"
    value = key.default
    if isinstance(value, Section):
        return f"`{value.kind}`" if hasattr(value, "kind") else "its defaults"
    return "none" if value in (None, ()) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _doc(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


if __name__ == "__main__":
    print(vocabulary_page(), end="")
