"""A whole figure, of one model or of two, in each format."""

from __future__ import annotations

from dataclasses import dataclass

from archc.draw.changes import Changes, Difference
from archc.draw.describe.blocks import Model
from archc.draw.formats.html import write_html
from archc.draw.formats.mermaid import write_markdown
from archc.draw.formats.svg import write_svg
from archc.draw.layout.sheet import draw_pair, draw_sheet
from archc.draw.scene import Drawing
from archc.draw.totals import Totals


@dataclass(frozen=True)
class Panel:
    """One model with its numbers, and the texts of its blocks that another model lacks."""

    model: Model
    totals: Totals
    changes: Changes


@dataclass(frozen=True)
class Figure:
    """One panel, or two with the values that differ."""

    panels: tuple[Panel, ...]
    differences: tuple[Difference, ...] = ()

    @property
    def title(self) -> str:
        """The titles of the models."""
        return " and ".join(panel.model.title for panel in self.panels)

    def scene(self) -> Drawing:
        """Return the drawing of the figure."""
        if len(self.panels) == 1:
            (panel,) = self.panels
            return draw_sheet(panel.model, panel.totals)
        prefixes = ("first-", "second-")
        sheets = [
            draw_sheet(
                panel.model, panel.totals, prefix, {f"{prefix}{name}": texts for name, texts in panel.changes.items()}
            )
            for prefix, panel in zip(prefixes, self.panels, strict=True)
        ]
        return draw_pair(sheets, [panel.model.title for panel in self.panels], self.differences)

    def render(self, suffix: str) -> str:
        """Return the figure in the format of a suffix: .svg, .html or .md."""
        models = [(panel.model, panel.totals) for panel in self.panels]
        match suffix:
            case ".svg":
                return write_svg(self.scene(), self.title)
            case ".html":
                return write_html(self.scene(), self.title, models, self.differences)
            case _:
                return write_markdown(self.title, models, self.differences)
