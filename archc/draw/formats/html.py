"""A page with the figure, a legend, and tables of layers, parameters and lengths; self-contained, without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from archc.draw.changes import Difference
from archc.draw.describe.blocks import Block, LayerKind, Model
from archc.draw.describe.words import byte_count, whole
from archc.draw.formats.colors import FONTS, style_sheet
from archc.draw.formats.svg import clean, write_svg
from archc.draw.scene import Drawing
from archc.draw.totals import Totals, part_title
from archc.layer_ranges import shortened_ranges

_LEGEND = {
    "attention": "attention; lighter: with a window, or other values",
    "cross": "cross-attention",
    "recurrent": "recurrent mixer, whose state has a fixed size",
    "mixing": "mixer or convolution without a state",
    "mlp": "MLP",
    "experts": "mixture of experts",
    "norm": "norm",
    "table": "embedding and head",
}
_PAGE = f"""
body {{ margin: 2rem auto; max-width: 72rem; padding: 0 1rem; font: 15px/1.5 {FONTS}; }}
body {{ color: #1b2026; background: #fff; }}
figure {{ margin: 0 0 2rem; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem; }}
table {{ border-collapse: collapse; font-size: 14px; }}
th, td {{ padding: .35rem .9rem .35rem 0; border-bottom: 1px solid #ccd3da; text-align: left; vertical-align: top; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
ul.legend {{ list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; }}
ul.legend svg {{ vertical-align: -1px; margin-right: .5rem; }}
@media (prefers-color-scheme: dark) {{
body {{ color: #e8edf2; background: #0f1419; }}
th, td {{ border-color: #3a444f; }}
}}
"""


def write_html(
    scene: Drawing, title: str, models: Sequence[tuple[Model, Totals]], differences: Sequence[Difference]
) -> str:
    """Return the page of a figure of one model, or of two with the values that differ."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{clean(title)}</title>",
        f"<style>{_PAGE}{style_sheet()}</style></head>",
        "<body>",
        f"<figure>{write_svg(scene, title, style=False)}</figure>",
        _legend([model for model, _ in models]),
    ]
    if len(models) > 1:
        rows = [(row.path, row.a, row.b) for row in differences]
        lines += ["<h2>Differences</h2>", _table(("value", *(model.title for model, _ in models)), rows)]
    for model, totals in models:
        name = f" of {clean(model.title)}" if len(models) > 1 else ""
        lines += [f"<h2>Layers{name}</h2>", _layers(model), f"<h2>Parameters{name}</h2>", _parameters(totals)]
        lines += [f"<h2>By length{name}</h2>", _lengths(totals)]
    return "\n".join([*lines, "</body>", "</html>"]) + "\n"


def block_text(block: Block) -> str:
    """Return a block on one line: its title, and all texts in it."""
    return f"{block.title}: {', '.join(block.texts())}" if block.texts() else block.title


def layer_rows(model: Model) -> list[tuple[str, str, str, str]]:
    """Return a row for each kind of layer and each variant: layers, number, blocks, and differing values."""
    rows = []
    for stack in model.stacks:
        name = f"{stack.name} " if stack.name else ""
        for kind in stack.kinds:
            blocks = "; ".join(block_text(branch.body) for branch in kind.branches)
            rows.append((f"{name}{shortened_ranges(kind.layers)}", str(len(kind.layers)), blocks, _norms(kind)))
            rows += [
                (f"{name}{shortened_ranges(variant.layers)}", str(len(variant.layers)), "", ", ".join(variant.texts))
                for variant in kind.variants
            ]
    return rows


def _norms(kind: LayerKind) -> str:
    """Return where the norms of a kind stand."""
    if not kind.branches:
        return "no norm"
    first = kind.branches[0]
    if kind.shared_norm is not None:
        place = f"{kind.shared_norm.title}, one for both branches"
    elif first.before is None and first.after is None:
        place = "no norm"
    elif kind.norms_after_sum:
        place = f"{_title(first.before)} after the sum"
    elif first.before is not None and first.after is not None:
        place = f"{first.before.title} before and after each branch"
    else:
        place = (
            f"{first.before.title} before each branch" if first.before else f"{_title(first.after)} after each branch"
        )
    return f"{place}; parallel" if kind.arrangement == "parallel" else place


def _title(block: Block | None) -> str:
    return block.title if block is not None else "no norm"


def _legend(models: Iterable[Model]) -> str:
    kinds = {
        block.kind
        for model in models
        for stack in model.stacks
        for block in (*stack.outside, *(block for kind in stack.kinds for block in kind.blocks))
    }
    items = [
        '<li><svg width="12" height="12" aria-hidden="true">'
        f'<rect class="{kind} bar" width="12" height="12" rx="2"/></svg>{clean(text)}</li>'
        for kind, text in _LEGEND.items()
        if kind in kinds
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _layers(model: Model) -> str:
    return _table(("layers", "number", "blocks", "norms, and values that differ"), layer_rows(model), numbers=(1,))


def _parameters(totals: Totals) -> str:
    total = sum(totals.by_part.values())
    rows = [
        (part_title(totals, part), whole(count), f"{100 * count / total:.2f} %")
        for part, count in totals.by_part.items()
    ]
    rows.append(("all", whole(totals.parameters), ""))
    if totals.active is not None:
        rows.append(("active per token", whole(totals.active), f"{100 * totals.active / totals.parameters:.2f} %"))
    return _table(("part", "parameters", "share"), rows, numbers=(1, 2))


def _lengths(totals: Totals) -> str:
    rows = [
        (whole(row.length), whole(row.state_bytes), byte_count(row.state_bytes), whole(row.multiply_adds))
        for row in totals.by_length
    ]
    header = ("tokens", f"bytes of cache and state, {totals.state_dtype}", "", "multiply-adds of a token")
    return _table(header, rows, numbers=(0, 1, 2, 3))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        marks = ("", ' class="number"')
        return "".join(f"<{tag}{marks[i in numbers]}>{clean(text)}</{tag}>" for i, text in enumerate(row))

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', header)}</tr></thead><tbody>\n{body}\n</tbody></table>"
