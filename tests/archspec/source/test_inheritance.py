"""`extends`: inherited sections, chains of parents, and parents that are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.archspec import SpecError, load_spec
from tests.archspec.samples import TINY, Load, Write


def test_a_child_inherits_sections(load: Load) -> None:
    bound = load("attention: {window: 8}\n").bind()
    assert bound.layers[0].attention.window == 8
    assert bound.layers[0].attention.heads == 4
    assert bound.family == "spec"


def test_header_and_sizes_are_not_inherited(write: Write) -> None:
    parent = "description: the parent\nmatch: {model_type: parent}\nsizes: {small: {hidden_size: 32}}\n"
    write(parent, "parent")
    spec = load_spec(write("", "child", extends="parent"))
    assert (spec.family, spec.description, dict(spec.sizes)) == ("child", "", {})
    assert spec.raw.header.model_types == ()


def test_a_chain_of_parents(write: Write) -> None:
    write("attention: {window: 8}\n", "one")
    write("attention: {scale: 0.5}\n", "two", extends="one")
    attention = load_spec(write("attention: {window: 9}\n", "three", extends="two.yaml")).bind().layers[0].attention
    assert (attention.window, attention.scale) == (9, 0.5)


def test_cycles_of_parents(write: Write) -> None:
    write("", "one", extends="two")
    with pytest.raises(SpecError, match="extend each other in a cycle: two → one → two; remove one"):
        load_spec(write("", "two", extends="one"))


def test_long_chains_of_parents(write: Write) -> None:
    for index in range(12):
        path = write("", f"s{index}", extends=f"s{index - 1}" if index else "base")
    with pytest.raises(SpecError, match="more than 8 specs extend each other; merge some of them"):
        load_spec(path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../base", "sub/../../base", "..\\base", "a\\b"])
def test_parents_outside_the_folder(write: Write, name: str) -> None:
    with pytest.raises(SpecError, match="is outside the folder of the spec; use a spec in this folder"):
        load_spec(write("", extends=name))


def test_a_symbolic_link_to_a_file_outside_the_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = write("", extends="base")
    inner = path.rename(tmp_path / "inside" / "spec.yaml")
    (tmp_path / "inside" / "base.yaml").symlink_to(tmp_path / "base.yaml")
    with pytest.raises(SpecError, match="is outside the folder of the spec, through a symbolic link; copy the file"):
        load_spec(inner)


def test_a_spec_may_extend_the_shipped_one_of_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "llama.yaml"
    path.write_text("family: llama\nextends: llama\nattention: {window: 8}\n")
    assert load_spec(path).bind(size=None, config=TINY).layers[0].attention.window == 8


def test_problems_of_a_parent_name_the_parent(write: Write) -> None:
    write("attention: {windw: 8}\n", "parent")
    with pytest.raises(SpecError, match=r"parent\.yaml:3:13: attention\.windw: unknown key"):
        load_spec(write("", "child", extends="parent"))


def test_an_inherited_name_may_be_unused(load: Load) -> None:
    spec = load("attention: {heads: 2, head_dim: 32, kv_heads: 2}\n")
    assert "num_attention_heads" not in spec.read
    assert not spec.reads_config("num_attention_heads")
