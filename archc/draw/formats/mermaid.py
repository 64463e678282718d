"""Markdown with a Mermaid flowchart and tables of the numbers, for READMEs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from archc.draw.changes import Difference
from archc.draw.describe.blocks import Block, Branch, LayerKind, Model, Stack
from archc.draw.describe.words import byte_count, short, whole
from archc.draw.totals import Totals, part_title
from archc.layer_ranges import shortened_ranges

# Fill and outline by kind, with dark text in light and dark themes alike.
_CLASSES = {
    "attention": ("#cfe3f9", "#2f6fb5"),
    "cross": ("#c9ece9", "#14807a"),
    "recurrent": ("#cfebd6", "#2c7f43"),
    "mixing": ("#dbe0ee", "#55648f"),
    "mlp": ("#fbe2bd", "#a8650c"),
    "experts": ("#e2d5f7", "#7446b8"),
    "norm": ("#e3e7ea", "#7b858f"),
    "table": ("#f7d6e3", "#ad3f6f"),
    "sum": ("#ffffff", "#4b545d"),
}
_LABEL = re.compile(r"[^\w .,:;+×·→–√²θβεΔ⊙±/()=-]")
_CELL = re.compile(r"[\\`*_{}\[\]<>#|&~!\r\n]")


def write_markdown(title: str, models: Sequence[tuple[Model, Totals]], differences: Sequence[Difference]) -> str:
    """Return the document of one model, or of two with the values that differ."""
    lines = [f"# {_cell(title)}", ""]
    for number, (model, totals) in enumerate(models):
        if len(models) > 1:
            lines += [f"## {_cell(model.title)}", ""]
        lines += [_cell(text) + "  " for text in (model.description, model.facts) if text]
        lines += ["", "```mermaid", *_chart(model, f"m{number}_"), "```", "", *_numbers(totals), ""]
    if len(models) > 1:
        lines += ["## Differences", ""]
        lines += _table(
            ("value", *(model.title for model, _ in models)), ((row.path, row.a, row.b) for row in differences)
        )
        lines.append("")
    return "\n".join(lines)


def _chart(model: Model, prefix: str) -> Iterator[str]:
    yield "flowchart BT"
    for stack in model.stacks:
        yield from _stack(stack, f"{prefix}{stack.name}_" if stack.name else prefix)
    if len(model.stacks) > 1:
        encoder, decoder = (f"{prefix}{stack.name}_" for stack in model.stacks)
        # A link to a node inside of a frame would take the frame apart.
        yield f'  {encoder}out -->|"keys and values"| {decoder}layers'
    for kind_name, (fill, line) in _CLASSES.items():
        yield f"  classDef {kind_name} fill:{fill},stroke:{line},color:#1b2026"


def _stack(stack: Stack, prefix: str) -> Iterator[str]:
    yield f'  {prefix}ids(["token ids"])'
    tables = [f"{prefix}{block.name}" for block in stack.inputs]
    for name, block in zip(tables, stack.inputs, strict=True):
        yield f"  {_node(name, block)}"
        yield f"  {prefix}ids --> {name}"
    last = tables[0]
    if len(tables) > 1:
        last = f"{prefix}sum"
        yield f'  {last}(("+")):::sum'
        yield from (f"  {name} --> {last}" for name in tables)
    for block in stack.after_sum:
        yield f"  {_node(prefix + block.name, block)}"
        yield f"  {last} --> {prefix}{block.name}"
        last = f"{prefix}{block.name}"
    layers = f"{prefix}layers"
    name = f"{stack.name} · " if stack.name else ""
    yield f'  subgraph {layers}["{_label(f"{name}{len(stack.cells)} layers")}"]'
    for kind in stack.kinds:
        yield from _kind(kind, f"{prefix}{kind.letter}_", single=len(stack.kinds) == 1)
    yield "  end"
    yield f'  {last} -->|"{stack.width}"| {layers}'
    last = layers
    if stack.final_norm is not None:
        yield f"  {_node(prefix + 'final_norm', stack.final_norm)}"
        yield f"  {last} --> {prefix}final_norm"
        last = f"{prefix}final_norm"
    if not stack.ends:
        yield f'  {prefix}out(["{_label(f"hidden states, {stack.width}")}"])'
        yield f"  {last} --> {prefix}out"
    for index, end in enumerate(stack.ends):
        source = last
        if end.block is not None:
            source = f"{prefix}{end.block.name}"
            yield f"  {_node(source, end.block)}"
            yield f"  {last} --> {source}"
        yield f'  {prefix}out{index}(["{_label(end.outcome)}"])'
        yield f"  {source} --> {prefix}out{index}"
    if stack.ties_head:
        yield f"  {prefix}embedding -.- {prefix}head"


def _kind(kind: LayerKind, prefix: str, single: bool) -> Iterator[str]:
    heading = (
        f"× {len(kind.layers)}" if single else f"{kind.letter} × {len(kind.layers)}: {shortened_ranges(kind.layers)}"
    )
    heading = "; ".join([heading, *(f"{len(v.layers)} × {', '.join(v.texts)}" for v in kind.variants[:4])])
    yield f'    subgraph {prefix}layer["{_label(heading)}"]'
    yield "      direction BT"
    yield f"      {prefix}in(( ))"
    last, rest = f"{prefix}in", list(kind.branches)
    if kind.arrangement == "parallel" and len(rest) > 1:
        yield from _parallel(kind, prefix)
        last, rest = f"{prefix}sum", rest[2:]
    for branch in rest:
        yield from _branch(kind, branch, prefix, last)
        last = f"{prefix}{branch.body.name}_sum"
        if kind.norms_after_sum and branch.before is not None:
            last = f"{prefix}{branch.before.name}"
    for block in kind.extras:
        yield f"      {_node(prefix + block.name, block)}"
        yield f"      {last} --> {prefix}{block.name}"
        last = f"{prefix}{block.name}"
    yield "    end"


def _parallel(kind: LayerKind, prefix: str) -> Iterator[str]:
    yield f'      {prefix}sum(("+")):::sum'
    source = f"{prefix}in"
    yield f"      {source} --> {prefix}sum"
    if kind.shared_norm is not None:
        yield f"      {_node(prefix + kind.shared_norm.name, kind.shared_norm)}"
        yield f"      {source} --> {prefix}{kind.shared_norm.name}"
        source = f"{prefix}{kind.shared_norm.name}"
    for branch in kind.branches[:2]:
        yield from _chain(branch, prefix, source, f"{prefix}sum", kind)


def _branch(kind: LayerKind, branch: Branch, prefix: str, source: str) -> Iterator[str]:
    total = f"{prefix}{branch.body.name}_sum"
    yield f'      {total}(("+")):::sum'
    skips = source
    if kind.skips_norm and branch.before is not None:
        skips = f"{prefix}{branch.before.name}"
    yield from _chain(branch, prefix, source, total, kind)
    scale = f'|"{_label(branch.skip_scale)}"|' if branch.skip_scale else ""
    yield f"      {skips} -->{scale} {total}"
    if kind.norms_after_sum and branch.before is not None:
        yield f"      {_node(prefix + branch.before.name, branch.before)}"
        yield f"      {total} --> {prefix}{branch.before.name}"


def _chain(branch: Branch, prefix: str, source: str, total: str, kind: LayerKind) -> Iterator[str]:
    """Yield the blocks of a branch, from its source to a sum."""
    before = None if kind.norms_after_sum else branch.before
    for block in (before, branch.body, branch.after):
        if block is not None:
            yield f"      {_node(prefix + block.name, block)}"
            yield f"      {source} --> {prefix}{block.name}"
            source = f"{prefix}{block.name}"
    scale = f'|"{_label(branch.scale)}"|' if branch.scale else ""
    yield f"      {source} -->{scale} {total}"


def _node(name: str, block: Block) -> str:
    if block.kind == "norm":
        return f'{name}["{_label(block.title)}"]:::norm'
    lines = [
        block.title,
        *([block.note] if block.note else []),
        *(text for text in block.texts() if text != block.note),
    ]
    return f'{name}["{"<br/>".join(map(_label, lines))}"]:::{block.kind}'


def _numbers(totals: Totals) -> list[str]:
    total = sum(totals.by_part.values())
    parts = [
        (part_title(totals, part), short(count), f"{100 * count / total:.1f} %")
        for part, count in totals.by_part.items()
    ]
    parts.append(("all", short(totals.parameters), ""))
    if totals.active is not None:
        parts.append(("active per token", short(totals.active), ""))
    lengths = [(whole(row.length), byte_count(row.state_bytes), short(row.multiply_adds)) for row in totals.by_length]
    header = ("tokens", f"cache and state, {totals.state_dtype}", "multiply-adds of a token")
    return [*_table(("part", "parameters", "share"), parts), "", *_table(header, lengths)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in (header, *rows)]
    return [lines[0], f"|{' --- |' * len(header)}", *lines[1:]]


def _label(text: str) -> str:
    """Return text for a quoted label of Mermaid, other characters than those of texts as entity codes."""
    return _LABEL.sub(lambda match: f"#{ord(match[0])};", text)


def _cell(text: str) -> str:
    """Return text for Markdown, without markup and HTML."""
    return _CELL.sub(lambda match: " " if match[0] in "\r\n" else f"&#{ord(match[0])};", text)
