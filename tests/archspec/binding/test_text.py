"""The section `text`: literals, inheritance, variants, overrides with files, and the text of a bound spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.archspec import SpecError, load_spec_text
from archc.archspec.vocabulary import Text
from tests.archspec.samples import Load

TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
SECTION = """\
text:
  pattern: \\p{L}+|.
  normalize: nfc
  after_vocabulary: ["[gMASK]", sop]
  whitespace: {newline: <n>, spaces: "<|blank_{n}|>"}
  begin: ["[gMASK]", 3]
  user: 195
  chat: "{{ user_token }}{{ hidden_size }}"
  stop: [<eoh>, 7]
"""


def test_values_are_literals(load: Load) -> None:
    text = load(SECTION).bind().text_settings
    assert (text.pattern, text.normalize, text.after_vocabulary) == (r"\p{L}+|.", "nfc", ("[gMASK]", "sop"))
    assert (text.whitespace.newline, text.whitespace.tab, text.whitespace.spaces) == ("<n>", None, "<|blank_{n}|>")
    assert (text.begin, text.end, text.stop) == (("[gMASK]", 3), None, ("<eoh>", 7))
    assert (text.user, text.assistant, text.chat) == (195, None, "{{ user_token }}{{ hidden_size }}")


def test_a_spec_without_the_section_has_the_defaults(load: Load) -> None:
    assert load("").bind().text_settings == Text()


def test_unquoted_none_is_no_text(load: Load) -> None:
    text = load("text: {pattern: none, chat: 'none', normalize: none}\n").bind().text_settings
    assert (text.pattern, text.chat, text.normalize) == (None, "none", None)


def test_a_child_replaces_single_keys() -> None:
    base = load_spec_text("family: mine\nextends: chatglm2\ntext: {stop: [x], begin: []}\n").bind(
        size=None, config=SIZES
    )
    parent = load_spec_text("family: mine\nextends: chatglm2\n").bind(size=None, config=SIZES)
    assert (base.text_settings.stop, base.text_settings.begin) == (("x",), ())
    assert base.text_settings.after_vocabulary == parent.text_settings.after_vocabulary


SIZES = {
    "padded_vocab_size": 65024,
    "hidden_size": 64,
    "ffn_hidden_size": 96,
    "num_layers": 2,
    "num_attention_heads": 4,
    "kv_channels": 16,
}


def test_a_variant_may_change_the_section(load: Load) -> None:
    spec = load("text: {begin: [1], stop: [2]}\nvariants:\n  - when: vocab_size > 100\n    text: {begin: [3]}\n")
    assert spec.bind().text_settings == Text(begin=(1,), stop=(2,))
    assert spec.bind({**spec.bind().config, "vocab_size": 101}).text_settings == Text(begin=(3,), stop=(2,))


def test_overrides(load: Load, tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    overrides = (f"text.chat=@{tmp_path}/chat.jinja", "text.stop=[x, 9]", "text.user=<u>")
    bound = load(SECTION, *overrides).bind()
    assert (bound.text_settings.chat, bound.text_settings.stop, bound.text_settings.user) == (TEMPLATE, ("x", 9), "<u>")
    assert bound.text_settings.begin == ("[gMASK]", 3)
    assert load_spec_text(bound.text).bind(bound.config).text_settings == bound.text_settings


def test_a_file_that_looks_like_yaml_is_text(load: Load, tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text("3")
    assert load("", f"text.chat=@{tmp_path / 'chat.jinja'}").bind().text_settings.chat == "3"


def test_an_absent_file(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        load("", f"text.chat=@{tmp_path}/absent.jinja")
    assert str(raised.value) == "--set text.chat: cannot read the file: No such file or directory"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{begin: [1.5]}", "text.begin[0]: 1.5 must be an integer or text"),
        ("{begin: <s>}", "text.begin: '<s>': invalid expression"),
        ("{chatt: x}", "text.chatt: unknown key 'chatt'; did you mean 'chat'?"),
        ("{chat: 3}", "text.chat: 3 must be text or none"),
        ("{normalize: nfd}", "text.normalize: expected 'nfc' or none, got 'nfd'"),
        ("5", "text: expected a mapping, got 5"),
    ],
    ids=["float", "not a list", "unknown key", "number", "normalization", "no mapping"],
)
def test_invalid_sections(load: Load, section: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load(f"text: {section}\n")
    assert message in str(raised.value)
