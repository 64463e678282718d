"""The generator of the site: pages of families, the gallery, the tracked pages with their links, and the references."""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from archc.archspec import load_spec
from archc.archspec.source.catalog import shipped
from archc.cli.inspect.binding import bind_some_size
from archc.cli.parser import app
from website.__main__ import write_site
from website.family import Family
from website.family_page import family_page
from website.gallery import gallery_page
from website.guides import guide, linked
from website.places import DOCS, REPOSITORY, ROOT, BrokenLinkError, guides
from website.reference import reference_pages
from website.tables import read_tables, table, text
from website.terms import terms_of
from website.vocabulary import anchor, words_of

FAMILIES = {name: Family(name) for name in ("gemma2", "t5", "small-lm")}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_page_has_every_section_and_the_figure(name: str) -> None:
    page = family_page(FAMILIES[name])
    titles = ["Sizes", "Words", "Modules", "Checkpoints", "Measured differences", "Targets", "Spec"]
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == titles
    assert page.count("<svg ") == 1
    assert "<style>" not in page
    assert FAMILIES[name].path.read_text("utf-8").strip() in page


def test_facts_of_a_family() -> None:
    page = family_page(FAMILIES["gemma2"])
    assert "| `2b` | 2.61 B | 26 | 2,304 | 8 | 4 | 256,000 | 8,192 |" in page
    assert "`model_type` `gemma2`, architecture `Gemma2ForCausalLM`" in page
    assert "| Gemma 2 2B it | `.safetensors`, shards, BF16 |" in page
    assert "against transformers" in page
    assert "Extends [gemma](gemma.md)." in page


def test_a_row_of_each_size() -> None:
    assert [size.name for size in FAMILIES["gemma2"].sizes] == list(FAMILIES["gemma2"].spec.sizes)
    assert [size.name for size in FAMILIES["small-lm"].sizes] == [""]


def test_terms_of_families() -> None:
    expected = {"GQA", "sliding window", "sandwich norms", "GeGLU", "logit softcap", "score softcap", "tied embeddings"}
    assert expected < set(FAMILIES["gemma2"].terms)
    assert {"encoder-decoder", "relative buckets", "MHA"} < set(FAMILIES["t5"].terms)
    assert not {"MLA", "MoE", "hybrid", "post-norm", "MQA"} & {*FAMILIES["gemma2"].terms, *FAMILIES["t5"].terms}


FURTHER_TERMS = {
    "deepseek-v3": {"MLA", "MoE", "shared experts", "sigmoid routing", "group-limited routing", "YaRN"},
    "jamba": {"hybrid", "selective scan (Mamba)", "MoE"},
    "gptj": {"parallel residual", "partial RoPE"},
    "rwkv7": {"recurrent", "delta rule", "channel mixing"},
    "albert": {"encoder", "post-norm", "shared layers"},
}


@pytest.mark.parametrize("family", FURTHER_TERMS)
def test_terms_of_further_families(family: str) -> None:
    assert FURTHER_TERMS[family] < set(terms_of([bind_some_size(load_spec(family), None)]))


def test_words_are_sections_that_differ_from_their_defaults() -> None:
    found = {word.path: word for word in words_of(FAMILIES["gemma2"].spec.bind(size="2b"))}
    assert found["layer.norm"].kind == "rmsnorm"
    assert {"placement", "unit_offset", "eps"} == set(found["layer.norm"].keys)
    assert "softcap" in set(found["attention"].keys)
    assert "attention.bias" not in found


def test_anchors_are_headings_of_the_vocabulary() -> None:
    assert anchor("layer.norm") == "layernorm-"
    assert anchor("encoder.attention.bias") == "attentionbias"
    assert anchor("attention.nothing.below") == "attention-"


def test_the_gallery_has_a_card_and_the_words_of_each_family() -> None:
    page = gallery_page(list(FAMILIES.values()))
    assert re.findall(r'href="([\w-]+)/" data-words', page) == list(FAMILIES)
    words = re.findall(r'name="word" value="([^"]+)"', page)
    assert set(words) == {term for family in FAMILIES.values() for term in family.terms}
    assert page.count("<svg ") == len(FAMILIES)


@pytest.mark.parametrize("place", [place for place, path in guides().items() if path.suffix == ".md"])
def test_links_of_tracked_pages_lead_to_pages_or_to_the_repository(place: str) -> None:
    places = {*guides(), *reference_pages(), *(f"gallery/{name}.md" for name in shipped())}
    prose = re.sub(r"^```.*?^```", "", guide(guides()[place], place), flags=re.DOTALL | re.MULTILINE)
    targets = [target for target in re.findall(r"\]\(([^)\s#]+)", prose) if not target.startswith("https://")]
    assert {posixpath.normpath(posixpath.join(posixpath.dirname(place), target)) for target in targets} <= places


def test_paths_in_code_become_links() -> None:
    line = "`docs/draw.md`, `specs/qwen2.yaml`, `compiler/`, `a/b` and [`docs/draw.md`](draw.md#elements)"
    assert linked(line, DOCS / "serve.md", "serve.md") == (
        "[`docs/draw.md`](draw.md), [`specs/qwen2.yaml`](gallery/qwen2.md), "
        f"[`compiler/`]({REPOSITORY}/tree/main/compiler), `a/b` and [`docs/draw.md`](draw.md#elements)"
    )


def test_links_inside_html_become_markdown() -> None:
    line = '<summary>A figure (<a href="docs/draw.md">more</a>)</summary>'
    assert (
        linked(line, ROOT / "README.md", "index.md") == '<summary markdown="span">A figure ([more](draw.md))</summary>'
    )


def test_a_broken_link_is_an_error() -> None:
    with pytest.raises(BrokenLinkError, match=r"docs/draw.md: nowhere.md: no such file"):
        linked("[x](nowhere.md)", DOCS / "draw.md", "draw.md")


def test_blocks_of_code_stay_as_they_are() -> None:
    page = guide(DOCS / "draw.md", "draw.md")
    assert "    archc draw path/to/checkpoint -o model.html        # a page" in page


def test_tables_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"# A\n\n{table(('a', 'b'), [('1', text('x|y')), ('2', '')])}\ntext\n", "utf-8")
    assert read_tables(path) == {"a": [{"a": "1", "b": r"x\|y"}, {"a": "2", "b": ""}]}


def test_the_page_of_commands_has_every_command_and_its_options() -> None:
    page = reference_pages()["cli.md"]
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"^## ([\w-]+)$", page, re.MULTILINE)) == commands
    build = page.partition("## build\n")[2].partition("\n## ")[0]
    assert {"--quantize", "--target", "--weights"} <= set(re.findall(r"`(--[\w-]+)", build))


@pytest.mark.slow
def test_the_site_has_no_broken_link(tmp_path: Path) -> None:
    for name in ("archc", "archspec", "compiler", "plan", "runtime"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "zensical.toml", tmp_path)  # relative paths begin at the file that a link points to
    write_site(tmp_path / "build" / "docs", shipped())
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    for page in ("gallery", "gallery/qwen2", "families", "cli", "api/archc"):
        assert (tmp_path / "build" / "site" / page / "index.html").is_file()
