"""Every example of docs/language.md is valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archc.archspec import SpecError, json_schema, load_spec_text
from archc.archspec.checking.functions import FUNCTIONS
from archc.archspec.source.top_keys import META_KEYS
from archc.archspec.vocabulary.verbs import VERBS

PAGE = (Path(__file__).parents[3] / "docs" / "language.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

CONFIG = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_layers": 4,
    "num_heads": 4,
}


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split()[1])
def test_example_loads_and_binds(text: str) -> None:
    spec = load_spec_text(text, "language.md")
    bound = spec.bind({key: value for key, value in CONFIG.items() if spec.reads_config(key)})
    assert len(bound.layers) == 4
    for size in spec.sizes:
        assert spec.bind(size=size).size == size


def test_the_error_message_is_exact() -> None:
    with pytest.raises(SpecError) as raised:
        load_spec_text("family: x\nextends: llama\n\n\nlayer: {norm: {epz: 1}}\n", "my-model.yaml")
    assert str(raised.value) in PAGE


@pytest.mark.parametrize("text", PROGRAMS, ids=["python"])
def test_program_runs(text: str) -> None:
    exec(compile(text, "language.md", "exec"), {})


def test_every_key_function_and_verb_is_on_the_page() -> None:
    assert len(EXAMPLES) >= 6
    for word in (*META_KEYS, *FUNCTIONS, *VERBS, *json_schema()["$defs"]["Split"]["properties"]):
        assert f"`{word}" in PAGE or f"{word}:" in PAGE, word
