"""The numbers next to a figure: parameters as a bar by part, and a table of state and multiply-adds by length."""

from __future__ import annotations

from archc.draw.describe.words import byte_count, short, whole
from archc.draw.fonts import wrap
from archc.draw.layout.chart import HEIGHT, line_chart
from archc.draw.layout.measures import SMALL, TEXT
from archc.draw.scene import Drawing, Label, Rect
from archc.draw.totals import Totals, part_title

PANEL = 300
_LINE = 19
_BETWEEN = 24  # the charts


def parameters_section(totals: Totals) -> Drawing:
    """Return the bar of parameters with a line for each part; the total alone if a plan has no tensors of its own."""
    drawing = Drawing(PANEL, 16)
    drawing.add(Label(0, 12, "Parameters", 13, bold=True))
    drawing.add(Label(PANEL, 12, short(totals.parameters), 13, "end", bold=True))
    if not totals.by_part:
        return drawing
    y = 24.0
    total = sum(totals.by_part.values())
    x = 0.0
    for part, count in totals.by_part.items():
        width = PANEL * count / total
        if width >= 0.5:
            drawing.add(Rect(x, y, max(0.5, width - 1), 14, f"{part} bar", 1))
        x += width
    y += 32
    for part, count in totals.by_part.items():
        drawing.add(Rect(0, y - 9, 10, 10, f"{part} bar", 2))
        drawing.add(Label(17, y, part_title(totals, part), TEXT))
        drawing.add(Label(PANEL - 58, y, short(count), TEXT, "end"))
        drawing.add(Label(PANEL, y, _percent(count / total), TEXT, "end", "muted"))
        y += _LINE
    if totals.active is not None:
        drawing.add(Label(17, y, "active per token", TEXT, style="muted"))
        drawing.add(Label(PANEL - 58, y, short(totals.active), TEXT, "end", "muted"))
        drawing.add(Label(PANEL, y, _percent(totals.active / totals.parameters), TEXT, "end", "muted"))
        y += _LINE
    drawing.height = y - _LINE + 4
    return drawing


def lengths_section(totals: Totals) -> Drawing:
    """Return the table of state and multiply-adds by length."""
    drawing = Drawing(PANEL)
    drawing.add(Label(0, 12, "By length", 13, bold=True))
    charts = _charts(totals)
    for index, chart in enumerate(charts):
        drawing.place(chart, index * (PANEL - chart.width), 20)
    y = 34.0 + 20 + HEIGHT
    middle = PANEL - 118
    name = _state_name(totals)
    for x, text in ((76, "tokens"), (middle, name), (PANEL, "multiply-adds")):
        if text:
            drawing.add(Label(x, y, text, SMALL, "end", "muted"))
    y += _LINE
    for row in totals.by_length:
        drawing.add(Label(76, y, whole(row.length), TEXT, "end"))
        if name:
            drawing.add(Label(middle, y, byte_count(row.state_bytes), TEXT, "end"))
        drawing.add(Label(PANEL, y, short(row.multiply_adds), TEXT, "end"))
        y += _LINE
    y += 4
    for text in (line for sentence in notes(totals) for line in wrap(sentence, PANEL, SMALL)):
        drawing.add(Label(0, y, text, SMALL, style="muted"))
        y += 15
    drawing.height = y - 10
    return drawing


def _charts(totals: Totals) -> list[Drawing]:
    """Return the charts of state, if the model has any, and of multiply-adds."""
    name, last = _state_name(totals), totals.curve[-1]
    longest = whole(last.length)
    operations = [(float(row.length), float(row.multiply_adds)) for row in totals.curve]
    of_operations = ("multiply-adds", operations, short(last.multiply_adds), longest)
    if not name:
        return [line_chart(*of_operations, PANEL)]
    states = [(float(row.length), float(row.state_bytes)) for row in totals.curve]
    half = (PANEL - _BETWEEN) / 2
    of_states = (name, states, byte_count(last.state_bytes), longest)
    return [line_chart(*of_states, half), line_chart(*of_operations, half)]


def _state_name(totals: Totals) -> str:
    grows = totals.state_per_token or totals.state_per_source_token
    if not grows:
        return "state" if totals.state_fixed else ""
    return "cache + state" if totals.state_fixed else "KV cache"


def notes(totals: Totals) -> list[str]:
    """Return what the numbers of the table are, as sentences."""
    if not _state_name(totals):
        return ["Multiply-adds of each token; no state, because all tokens are read at once."]
    texts = ["Multiply-adds: of the next token."]
    if totals.state_per_source_token:
        texts.append("Source and target have that length; the decoder alone.")
    parts = [
        (totals.state_per_token - totals.state_in_windows, "per token"),
        (totals.state_in_windows, "per token up to the width of a window"),
        (totals.state_per_source_token, "per source token"),
        (totals.state_fixed, "per sequence"),
    ]
    sizes = [f"{byte_count(count)} {unit}" for count, unit in parts if count]
    return [*texts, f"{totals.state_dtype}: {', '.join(sizes)}."]


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"
