"""The vocabulary's reference page: python -m archc.archspec.docs.vocabulary_page > docs/vocabulary.md."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.checking.word_schema import Field, SectionShape, fields_of
from archc.archspec.errors import listed
from archc.archspec.vocabulary import Model, Word, differs_by_layer
from archc.archspec.vocabulary.verbs import VERBS

_HEAD = """\
# The vocabulary

Every word that a spec can say, generated from the classes that define it
(`python -m archc.archspec.docs.vocabulary_page`).
`docs/language.md` says how words are written: any value may also be an expression over `config:` names, and what
belongs to a layer, marked ◇, may differ from layer to layer.
"""


def vocabulary_page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD, "\n## The model\n\n", *_table(Model, "")]
    for field in fields_of(Model).values():
        if isinstance(field.shape, SectionShape):
            parts += _section(field.name, field.shape, 2)
    parts.append("\n## Verbs of the weight table\n")
    for key, verb in VERBS.items():
        parts += [f"\n### `{key}`\n\n{_text(verb)}\n\n" if fields_of(verb) else f"\n### `{key}`\n\n{_text(verb)}\n"]
        parts += _table(verb, "")
    return "".join(parts)


def _section(path: str, shape: SectionShape, depth: int) -> Iterator[str]:
    yield f"\n{'#' * depth} `{path}`{_mark(path)}\n"
    if shape.kinds:
        default = f"; `{shape.default_kind}` where none is named" if shape.default_kind is not None else ""
        yield f"\nKinds: {listed(f'`{kind}`' for kind in shape.kinds)}{default}.\n"
    for kind, word in shape.classes.items():
        title = f"\n**`kind: {kind}`**: " if kind is not None else "\n"
        yield f"{title}{_text(word)}\n"
        if fields_of(word):
            yield "\n"
            yield from _table(word, path)
    known: set[str] = set()
    for word in shape.classes.values():
        for name, field in fields_of(word).items():
            # An encoder's sections are those of the model, which have chapters already.
            if isinstance(field.shape, SectionShape) and name not in known and path != "encoder":
                known.add(name)
                yield from _section(f"{path}.{name}", field.shape, min(depth + 1, 5))


def _table(word: type[Word], path: str) -> Iterator[str]:
    if not fields_of(word):
        return
    yield "| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
    for name, field in fields_of(word).items():
        where = f"{path}.{name}" if path else name
        meaning = _meaning(field, where).replace("|", "\\|")
        yield f"| `{name}`{_mark(where)} | {field.shape.expected} | {_default(field)} | {meaning} |\n"


def _meaning(field: Field, path: str) -> str:
    """What a key says; a section that says nothing here has a chapter of its own."""
    return field.description or (
        f"See `{path.removeprefix('encoder.')}`{'' if path.startswith('encoder.') else ' below'}."
        if isinstance(field.shape, SectionShape)
        else ""
    )


def _mark(path: str) -> str:
    return " ◇" if differs_by_layer(path) else ""


def _default(field: Field) -> str:
    if field.required:
        return "required"
    value = field.default
    if isinstance(value, Word):
        return f"`{getattr(value, 'kind', 'its own defaults')}`"
    return "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _text(word: type[Word]) -> str:
    return " ".join((word.__doc__ or "").split())


if __name__ == "__main__":
    print(vocabulary_page(), end="")
