"""The page of a family: figure, sizes, words, modules, checkpoints, spec, measured differences and targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from archc.archspec import BoundSpec
from archc.draw.describe.words import short, whole
from archc.draw.formats.svg import write_svg
from archc.draw.layout.sheet import draw_sheet
from website.family import Family, Row
from website.places import family_place, relative
from website.tables import table, text
from website.vocabulary import words_of

_FRONT = "---\ntitle: {title}\ndescription: {description}\nhide: [navigation]\n---\n"


def family_page(family: Family) -> str:
    """Return the page as Markdown."""
    return "\n".join([*_head(family), *_figure(family), *_sections(family)])


def _head(family: Family) -> Iterator[str]:
    description = text(family.header.description)
    yield _FRONT.format(title=family.name, description=repr(family.header.description))
    yield f"# {family.name}\n\n{description}\n"
    chips = [f"[{term}](index.md?word={quote(term)}){{ .term }}" for term in family.terms]
    yield f"{' '.join(chips)}\n"


def _figure(family: Family) -> Iterator[str]:
    drawing = draw_sheet(family.model, family.subject.totals)
    svg = write_svg(drawing, family.model.title, style=False).replace("\n", "")
    size = f" --size {family.subject.bound.size}" if family.subject.bound.size else ""
    yield f'<div class="architecture" data-search-exclude markdown="0">{svg}</div>\n'
    yield f"Drawn by `archc draw {family.name}{size}`; the [legend](../draw.md#elements) explains the signs.\n"


def _sections(family: Family) -> Iterator[str]:
    yield f"## Sizes\n\n{_sizes(family)}"
    yield f"## Words\n\n{_words(family.subject.bound)}"
    yield f"## Modules\n\n{_modules(family)}"
    yield f"## Checkpoints\n\n{_checkpoints(family)}"
    yield f"## Measured differences\n\n{_checks(family)}"
    yield f"## Targets\n\n{_targets(family)}"
    yield f"## Spec\n\n{_spec(family)}"


def _sizes(family: Family) -> str:
    header = ("size", "parameters", "layers", "width", "heads", "key/value heads", "vocabulary", "context")
    rows = [
        (
            f"`{size.name}`" if size.name else "defaults",
            short(size.parameters),
            _layers(size.bound),
            whole(size.bound.embedding.width),
            _numbers(getattr(layer.attention, "heads", None) for layer in size.bound.layers),
            _numbers(getattr(layer.attention, "kv_heads", None) for layer in size.bound.layers),
            whole(size.bound.embedding.vocab),
            whole(size.bound.context),
        )
        for size in family.sizes
    ]
    return table(header, rows)


def _layers(bound: BoundSpec) -> str:
    encoder = f"{len(bound.encoder.layers)} + " if bound.encoder is not None else ""
    return f"{encoder}{len(bound.layers)}"


def _numbers(values: Iterable[int | None]) -> str:
    """Return the different numbers of the layers; a dash without any."""
    numbers = sorted({value for value in values if value is not None})
    return " or ".join(map(whole, numbers)) if len(numbers) < 3 else f"{numbers[0]}–{numbers[-1]}"


def _words(bound: BoundSpec) -> str:
    rows = [
        (
            f"[`{word.path}`](../vocabulary.md#{word.anchor})",
            f"`{word.kind}`" if word.kind is not None else "",
            ", ".join(f"`{key}`" for key in word.keys),
            text(word.meaning),
        )
        for word in words_of(bound)
    ]
    return table(("section", "kind", "keys", "meaning"), rows)


def _modules(family: Family) -> str:
    lines = "\n".join(family.subject.listing.lines()[2:])
    return f'<div data-search-exclude markdown="1">\n\n```text\n{lines.strip()}\n```\n\n</div>\n'


def _checkpoints(family: Family) -> str:
    parts = [_match(family)]
    if family.checkpoints:
        columns = ("checkpoint", "weights", "packing", "tokenizer", "prompt", "chat")
        parts.append("Official checkpoints whose builds are [tested](../checkpoints.md#official-checkpoints):\n")
        parts.append(table(columns, [[row[name] for name in columns] for row in family.checkpoints]))
    if family.header.source:
        parts.append("Sources of the facts:\n")
        parts += [f"- {text(source)}" for source in family.header.source]
    return "\n".join(parts) + "\n"


def _match(family: Family) -> str:
    """Return the conditions by which `archc build` selects the spec."""
    header = family.header
    if not header.model_types and not header.tensors:
        return f"No checkpoint selects this spec by itself: `archc build {family.name} --weights DIR`.\n"
    conditions = [f"`model_type` {_either(header.model_types)}"] if header.model_types else []
    conditions += [f"architecture {_either(header.architectures)}"] if header.architectures else []
    conditions += [f"`{header.where.value}`"] if header.where is not None else []
    found = [f"a `config.json` with {', '.join(conditions)}"] if conditions else []
    found += [f"tensors {_either(header.tensors)} without a `config.json`"] if header.tensors else []
    return f"`archc build path/to/checkpoint` selects this spec for {', and for '.join(found)}.\n"


def _either(names: Iterable[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _checks(family: Family) -> str:
    if family.checks is None:
        return "No reference.\n"
    return (
        f"On a tiny random checkpoint, in float32, against {family.checks['reference']}. "
        "[Families](../families.md) explains the columns.\n\n" + _row(family.checks, without=("family", "reference"))
    )


def _targets(family: Family) -> str:
    if family.targets is None:
        return "None.\n"
    return "Builds of the same tiny model in float16. [Targets](../targets.md) explains the columns.\n\n" + _row(
        family.targets, without=("family",)
    )


def _row(cells: Row, without: Iterable[str]) -> str:
    kept = {name: cell for name, cell in cells.items() if name not in without}
    return table(tuple(kept), [tuple(kept.values())])


def _spec(family: Family) -> str:
    place = family_place(family.name)
    parts = []
    if family.parent is not None:
        parts.append(f"Extends [{family.parent}]({relative(family_place(family.parent), place)}).")
    if family.children:
        links = [f"[{name}]({relative(family_place(name), place)})" for name in family.children]
        parts.append(f"Extended by {', '.join(links)}.")
    source = family.path.read_text("utf-8").strip()
    return f"{' '.join(parts)}\n\n```yaml\n{source}\n```\n"
