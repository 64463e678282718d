"""The page of words in use: python -m tests.families.words [--write].

A word is a kind of a section, or a key with another value than its default, in a shipped spec with its parents and
variants. The page shows which words carry many families and which serve one, and the length of every spec.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from archc.archspec import load_spec
from archc.archspec.source.catalog import shipped
from archc.archspec.vocabulary import Model, Section
from archc.archspec.vocabulary.schema import SectionSchema, keys_of
from tests.families.pages import put

OUT = Path(__file__).parent.parent.parent / "docs" / "words.md"
MOST_NAMED = 5
HEAD = """# Words in use

The words of the [vocabulary](vocabulary.md) that the shipped specs use: kinds of sections, and keys with another value
than their default, parents and variants included. Keys that every spec has are left out.

Written by `python -m tests.families.words --write`.

## Words of several families

| word | families | |
|---|---|---|
{shared}
## Words of one family

{single_count} of {count} words. Each is the general form of a thing that the field has, which no other shipped family
has yet; the last column is its description in the vocabulary.

| word | family | |
|---|---|---|
{single}
## Lines of each spec

Lines that are neither blank nor a comment. {total} specs; half have at most {median} lines, and {long} more than 80.

| lines | specs |
|---|---|
{lengths}"""


def words_of(name: str) -> dict[str, str]:
    """Return the words of a spec, each with its description."""
    tree = yaml.safe_load(load_spec(name).text)
    bodies = [tree, *tree.get("variants", [])]
    return {word: text for body in bodies for word, text in _keys(Model, body, "")}


def _keys(section: type[Section], body: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for name, key in keys_of(section).items():
        if name not in body:
            continue
        place = f"{path}.{name}".removeprefix(".").removeprefix("encoder.")
        values = body[name] if isinstance(body[name], list) else [body[name]]
        for value in values:
            if isinstance(key.schema, SectionSchema):
                yield from _section(key.schema, value, place, key.description)
            elif not key.required and value not in (key.default, False, None, "none"):
                yield place, key.description


def _section(schema: SectionSchema, value: object, path: str, description: str) -> Iterator[tuple[str, str]]:
    body = value if isinstance(value, dict) else dict.fromkeys(schema.flags or ("kind",), value)
    kind = body.get("kind", schema.default_kind) if schema.kinds else None
    if kind not in schema.classes:
        return  # none, or the value of a config name
    section = schema.classes[kind]
    keys = list(_keys(section, body, path))
    if kind or keys:
        text = (section.__doc__ or description).split("\n\n")[0]
        yield f"{path}: {kind}" if kind else path, " ".join(text.split())
    yield from keys


def page() -> str:
    """Return the page."""
    names, users, texts = list(shipped()), dict[str, list[str]](), dict[str, str]()
    for name in names:
        for word, text in words_of(name).items():
            users.setdefault(word, []).append(name)
            texts.setdefault(word, text)
    users = {word: users[word] for word in sorted(users) if len(users[word]) < len(names)}
    shared = [f"| `{word}` | {len(who)} | {_few(who)} |" for word, who in users.items() if len(who) > 1]
    single = [f"| `{word}` | {who[0]} | {_cell(texts[word])} |" for word, who in users.items() if len(who) == 1]
    lines = {name: _lines(path.read_text("utf-8")) for name, path in shipped().items()}
    lengths = [(count, [name for name in names if lines[name] == count]) for count in sorted(set(lines.values()))]
    return HEAD.format(
        shared="\n".join([*shared, ""]),
        single_count=len(single),
        count=len(users),
        single="\n".join([*single, ""]),
        total=len(names),
        median=sorted(lines.values())[len(lines) // 2],
        long=sum(count > 80 for count in lines.values()),
        lengths="".join(f"| {count} | {', '.join(who)} |\n" for count, who in lengths),
    )


def _lines(text: str) -> int:
    """Return the number of lines that are neither blank nor a comment."""
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())


def _few(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Print or write the page."""
    put(OUT, page(), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
