"""The files of a figure: valid, complete, the same at each run, and without references outside."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from archc.archspec import list_specs
from archc.draw.describe.blocks import Block, Model
from archc.draw.describe.words import byte_count, real, short, whole
from archc.draw.figure import Figure, Panel
from archc.draw.formats.colors import style_sheet
from archc.draw.formats.svg import clean
from tests.archc.draw.models import FIGURES, bound, figure, model

SPECS = [spec.name for spec in list_specs()]
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert(1)</script>\"'&|`[x](javascript:1)\x00\x1b\ud800\n# ![y](http://z)"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", SPECS)
def test_every_spec_in_every_format(name: str) -> None:
    drawn = figure(model(name))
    spec = bound(name)
    svg = drawn.render(".svg")
    assert drawn.render(".svg") == svg
    root = ElementTree.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id") is not None]
    assert len(ids) == len(set(ids)) > 3
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        *("svg", "title", "style", "rect", "g", "text", "path"),
        *({"circle"} if "<circle" in svg else ()),
    }
    page, document = drawn.render(".html"), drawn.render(".md")
    for text in (svg, page, document):
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
        assert not re.search(r"<script|href|src=|@import|url\(|javascript", text)
    words = " ".join(texts(svg))
    for number in (spec.embedding.vocab, spec.embedding.width, spec.context, len(spec.layers)):
        assert whole(number) in words
    assert "flowchart BT\n  m0_" in document


@pytest.mark.parametrize("name", ["qwen2", "mixtral", "deepseek-v2", "t5", "jamba", "rwkv7", "nemotron-h", "bert"])
def test_every_text_of_the_model_and_every_number_is_in_every_format(name: str) -> None:
    drawn = model(name)
    svg, page, document = (figure(drawn).render(suffix) for suffix in (".svg", ".html", ".md"))
    shown = "\n".join(texts(svg))
    blocks = [
        block
        for stack in drawn.stacks
        for block in (*stack.outside, *(branch.body for kind in stack.kinds for branch in kind.branches))
    ]
    for block in blocks:
        for text in [block.title, *block.texts()]:
            assert text in shown
            assert clean(text) in page
            assert text.partition("’")[0] in document or block.kind == "norm" or "'" in text
    for part in FIGURES.by_part.values():
        assert short(part) in shown
        assert whole(part) in page
    for row in FIGURES.by_length:
        assert {whole(row.length), byte_count(row.state_bytes), short(row.multiply_adds)} <= set(texts(svg))
        assert f"| {whole(row.length)} | {byte_count(row.state_bytes)} | {short(row.multiply_adds)} |" in document


def hostile() -> Model:
    block = Block("embedding", "table", HOSTILE, HOSTILE, tags=(HOSTILE,))
    plain = model("qwen2")
    (stack,) = plain.stacks
    return replace(plain, family=HOSTILE, description=HOSTILE, stacks=(replace(stack, inputs=(block,)),))


def test_hostile_names_are_text() -> None:
    drawn = figure(hostile())
    root = ElementTree.fromstring(drawn.render(".svg"))
    assert "</title><script>alert(1)</script>" in "".join(root.find(f"{SVG}title").itertext())  # type: ignore[union-attr]
    assert not list(root.iter(f"{SVG}script"))
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(drawn.render(".html"))
    assert "svg" in tags
    assert "script" not in tags
    document = drawn.render(".md")
    assert not re.search(r"<script|!\[y\]|\[x\]\(|\n# !", document)
    chart = document.partition("```mermaid\n")[2].partition("\n```")[0]
    assert "`" not in chart
    assert '\n  m0_embedding["' in chart
    (line,) = [line for line in chart.splitlines() if line.startswith("  m0_embedding[")]
    assert line.count('"') == 2


def test_dark_and_light_have_the_same_rules() -> None:
    svg = figure(model("qwen2")).render(".svg")
    light, dark = svg.partition("<style>")[2].partition("</style>")[0].split("@media (prefers-color-scheme: dark)")
    colored = [re.findall(r"^(\S[^{]*) \{ (?:fill|stroke): #", part, re.M) for part in (light, dark)]
    assert len(colored[0]) > 10
    assert colored[0] == colored[1]
    styles = {name for style in re.findall(r'class="([^"]+)"', svg) for name in style.split()}
    known = set(re.findall(r"[.]([\w-]+)", light))
    assert styles <= known


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_in_both_schemes() -> None:
    for rules in style_sheet().split("@media"):
        filled = re.findall(r"^(\S[^{]*) \{ fill: (#[0-9a-f]{6})", rules, re.M)
        fills = {selector: fill for selectors, fill in filled for selector in selectors.split(", ")}
        backgrounds = [fill for name, fill in fills.items() if name in (".page", ".frame", ".card") or ".block" in name]
        assert len(backgrounds) >= 9
        for background in backgrounds:
            assert contrast(fills[".ink"], background) > 7
            assert contrast(fills[".muted"], background) > 4.5
            assert contrast(fills["text.changed"], background) > 4
        assert contrast(fills[".onkey"], fills[".attention.key"]) > 4.5


def test_numbers_are_short_and_exact_enough() -> None:
    assert [short(n) for n in (0, 999, 1000, 494_032_768, 999_999, 6_920_000_000)] == [
        *("0", "999", "1.00 K", "494 M", "1.00 M", "6.92 B")
    ]
    assert [byte_count(n) for n in (0, 1023, 1024, 12_582_912, 10.7 * 2**30)] == [
        *("0 bytes", "1,023 bytes", "1 KiB", "12 MiB", "10.7 GiB")
    ]
    assert [real(n) for n in (1e-6, 0.0625, 10000.0, 1e6, 1.0)] == ["1e-6", "0.0625", "10,000", "1,000,000", "1"]


def test_a_plan_without_tensors_of_its_own_has_the_total_alone() -> None:
    totals = replace(FIGURES, by_part={}, active=None)
    drawn = Figure((Panel(model("qwen2"), totals, {}),))
    assert "7.00 B" in texts(drawn.render(".svg"))
    assert "7,000,000,000" in drawn.render(".html")
    assert "| all | 7.00 B |  |" in drawn.render(".md")
