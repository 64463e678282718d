"""`archc draw`: its files, its numbers, and its errors."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from archc.cli.draw.subject import read_subject
from tests.archc.conftest import TINY, Archc
from tests.archc.draw.pictures import FIGURES, path, picture


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_file_is_named_after_the_model(archc: Archc) -> None:
    result = archc("draw", "gpt2")
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[-1] == "archc: wrote gpt2.svg"
    assert ElementTree.parse("gpt2.svg").getroot().tag.endswith("svg")
    assert archc("draw", "qwen2", "--size", "0.5b").code == 0
    assert Path("qwen2-0.5b.svg").is_file()


def test_svg_on_stdout_and_overrides(archc: Archc) -> None:
    result = archc("draw", "small-lm", "-o", "-", "--set", "position=alibi")
    assert result.code == 0
    assert ">ALiBi</text>" in result.out
    assert result.out.startswith("<svg ")
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(("name", "start"), [("a.svg", "<svg "), ("a.html", "<!doctype html>"), ("a.md", "# small-lm")])
def test_formats_by_suffix(archc: Archc, name: str, start: str) -> None:
    assert archc("draw", "small-lm", "-o", name).code == 0
    assert Path(name).read_text("utf-8").startswith(start)


def test_two_models(archc: Archc) -> None:
    result = archc("draw", "small-lm", "qwen2", "--size", "0.5b", "-o", "both.md")
    assert result.errors  # small-lm has no sizes
    assert archc("draw", "gpt2", "qwen2", "--size", "small", "--size", "0.5b").code == 0
    assert "layers[0-11].attention.kv_heads" in Path("gpt2-small-qwen2-0.5b.svg").read_text("utf-8")


def test_a_checkpoint_and_its_plan(archc: Archc, qwen: Path) -> None:
    of_checkpoint, of_plan = (read_subject(str(each), None, [], []).totals for each in (TINY, qwen))
    assert of_checkpoint.parameters == of_plan.parameters == sum(of_plan.by_part.values())
    assert of_checkpoint.by_part == of_plan.by_part
    by_length = [[(row.length, row.multiply_adds) for row in each.by_length] for each in (of_checkpoint, of_plan)]
    assert by_length[0] == by_length[1]
    assert archc("draw", qwen, "-o", "plan.svg").code == 0
    assert "tiny-qwen2" not in Path("plan.svg").read_text("utf-8")


def test_numbers_of_a_dense_model() -> None:
    totals = read_subject("qwen2", "0.5b", [], []).totals
    assert totals.parameters == 494_032_768
    assert totals.by_part["table"] == 151_936 * 896
    assert totals.by_part["mlp"] == 24 * 3 * 896 * 4864
    assert totals.by_part["norm"] == 49 * 896
    assert totals.active is None
    first = totals.by_length[0]
    assert (first.length, first.state_bytes) == (1024, 1024 * 24 * 2 * 128 * 2)
    weights = 24 * (2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864) + 151_936 * 896
    assert first.multiply_adds == weights + 24 * 2 * 896 * 1024


def test_a_window_bounds_cache_and_attention() -> None:
    totals = read_subject("gemma2", "2b", [], []).totals
    row = totals.by_length[-1]
    per_layer = 2 * 4 * 256 * 2
    assert row.length == 8192
    assert row.state_bytes == 13 * per_layer * (8192 + 4096)
    growth = row.multiply_adds - totals.by_length[0].multiply_adds
    assert growth == 13 * 2 * 8 * 256 * (8192 - 1024 + 4096 - 1024)


def test_active_parameters_of_experts() -> None:
    totals = read_subject("mixtral", "8x7b", [], []).totals
    unused = 32 * 6 * 3 * 4096 * 14336
    assert totals.active == totals.parameters - unused


def test_active_parameters_of_shortcut_connected_experts() -> None:
    subject = read_subject("longcat-flash", None, [], [])
    (mixture,) = {layer.shortcut for layer in subject.bound.layers if layer.shortcut is not None}
    layers = sum(layer.shortcut is not None for layer in subject.bound.layers)
    expert = 3 * subject.bound.embedding.width * mixture.expert.width
    unused = layers * (mixture.experts - mixture.per_token) * expert
    assert subject.totals.active == subject.totals.parameters - unused


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["qwen2", "-o", "a.png"], "-o a.png: expected a name that ends in .svg, .html or .md"),
        (["qwen2", "-o", "full.svg"], "full.svg: the file exists; choose another name, or replace it with --force"),
        (["nothing.plan"], "nothing.plan: no such file"),
        (["qwen2", "--size", "a", "--size", "b"], "--size is set 2 times; expected it once for each model, or once"),
        (
            ["qwen2", "--ignore-config", "x"],
            "--ignore-config has no effect without a checkpoint's config.json; remove it",
        ),
    ],
    ids=["suffix", "exists", "missing", "sizes", "ignore-config"],
)
def test_errors(archc: Archc, arguments: list[str], error: str) -> None:
    Path("full.svg").write_text("mine", "utf-8")
    result = archc("draw", *arguments)
    assert (result.code, result.errors) == (2, [error])
    assert Path("full.svg").read_text("utf-8") == "mine"


def test_an_unknown_size_names_the_sizes(archc: Archc) -> None:
    result = archc("draw", "qwen2", "--size", "8b")
    assert result.code == 2
    assert "sizes: 0.5b, 7b" in result.errors[0]


def test_a_spec_without_sizes_names_the_keys(archc: Archc) -> None:
    Path("own.yaml").write_text("family: own\nextends: llama\n", "utf-8")
    result = archc("draw", "own.yaml")
    assert result.code == 2
    assert any("hidden_size" in error for error in result.errors)


def test_an_option_without_effect_on_a_plan(archc: Archc, qwen: Path) -> None:
    result = archc("draw", qwen, "--size", "0.5b")
    assert result.code == 2
    assert result.errors == ["--size has no effect on a plan, because its sizes are fixed; remove it"]


def test_an_existing_file_is_replaced_with_force(archc: Archc) -> None:
    Path("gpt2.svg").write_text("mine", "utf-8")
    assert archc("draw", "gpt2").code == 2
    assert Path("gpt2.svg").read_text("utf-8") == "mine"
    assert archc("draw", "gpt2", "--force").code == 0
    assert Path("gpt2.svg").read_text("utf-8").startswith("<svg ")


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_of_the_docs_are_current(name: str) -> None:
    assert path(name).read_text("utf-8") == picture(name), "run python -m tests.archc.draw.pictures --write"


def test_the_page_shows_every_figure() -> None:
    page = (path("qwen2").parents[1] / "draw.md").read_text("utf-8")
    assert all(f"figures/{name}.svg" in page for name in FIGURES)
    assert {file.stem for file in path("qwen2").parent.iterdir()} == set(FIGURES)


def test_an_indexer_bounds_the_attention_of_a_token() -> None:
    totals = read_subject("glm-moe-dsa", None, [], []).totals
    near, far = totals.by_length[1], totals.by_length[2]
    assert (near.length, far.length) == (8192, 32768)
    # Past the number of selected keys, the scores of the indexer alone grow.
    assert far.multiply_adds - near.multiply_adds == 78 * 32 * 128 * (32768 - 8192)


def test_the_curve_bends_where_a_window_is_full() -> None:
    totals = read_subject("gemma3", "1b", [], []).totals
    lengths = [row.length for row in totals.curve]
    assert lengths == [1, 512, 1025, 32768]
    for row in totals.by_length:
        for number in ("state_bytes", "multiply_adds"):
            values = [getattr(point, number) for point in totals.curve]
            assert np.interp(row.length, lengths, values) == pytest.approx(getattr(row, number), rel=1e-9)
