"""Fuzz tests: any input has a value or an ArchspecError within a bounded time."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archc.archspec import ArchspecError, Spec, load_spec, load_spec_text, parse_config
from tests.archspec.samples import BASE, DATA

TEXTS = [path.read_text() for path in (*sorted(DATA.glob("*.yaml")), BASE)]
LLAMA = load_spec(DATA / "llama.yaml")
FALCON = load_spec(DATA / "falcon.yaml")
CONFIG: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 1e4,
    "rope_scaling": {"type": "linear", "factor": 2.0},
    "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
    "alibi": False,
    "hidden_act": "silu",
}
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SOON = 5.0


def check(error: ArchspecError) -> None:
    """Every problem of the error is one line."""
    assert error.problems
    assert all(str(problem) and "\n" not in str(problem) for problem in error.problems)


_SCRAPS = st.sampled_from(
    [
        "{", "}", "[", "]", ":", "- ", "\n", "  ", "\t", "#", "&a ", "*a", "!!int ", "'", '"', "|", "null",
        "none", "9**9**9", "layer", "layers", "{layer}", "{a,b}", "kind", "rope", "1e999", "-1", "0", "true",
        "yes", "@", "%", "\0", "é", "~", "?",
    ]
)  # fmt: skip


@st.composite
def damaged_specs(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from([0, 0, 1, 3, 10, 80]))
        text = text[:start] + draw(_SCRAPS | st.text(max_size=3)) + text[start + length :]
    return text


@given(damaged_specs(), st.data())
@FEW
def test_damaged_specs(text: str, data: st.DataObject) -> None:
    started = time.monotonic()
    try:
        spec = load_spec_text(text, "damaged")
        _bind(spec, CONFIG)
        for size in spec.sizes:
            spec.bind(size=size)
    except ArchspecError as error:
        check(error)
    assert time.monotonic() - started < SOON


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([0, -1, 1, 2, 3, 10**4, 10**12, "silu", "yarn", "none", "linear"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "a\n\ud800"]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*CONFIG, "unknown", "rope_type"]), _VALUES, max_size=4))
@FEW
def test_damaged_configs(changes: dict[str, Any]) -> None:
    for spec in (LLAMA, FALCON):
        started = time.monotonic()
        _bind(spec, {**copy.deepcopy(CONFIG), **changes})
        assert time.monotonic() - started < SOON


@given(st.text(max_size=60) | st.binary(max_size=60))
@FEW
def test_damaged_json(text: str | bytes) -> None:
    try:
        assert isinstance(parse_config(text, "x"), dict)
    except ArchspecError as error:
        check(error)


@given(
    st.lists(
        st.builds(
            "{}={}".format,
            st.sampled_from(
                ["layer.norm.kind", "position", "mlp", "layer.count", "attention.window", "head.kind", "x.y"]
            ),
            st.sampled_from(["none", "rmsnorm", "[1, 2]", "{kind: alibi}", "layer", "{", "9**9", "-1", ""])
            | st.text(max_size=8),
        ),
        max_size=3,
    )
)
@FEW
def test_any_overrides(overrides: list[str]) -> None:
    try:
        load_spec(DATA / "falcon.yaml", overrides).bind(size=None, config=CONFIG)
    except ArchspecError as error:
        check(error)


def test_a_long_chain_of_defaults() -> None:
    names = "".join(f"  n{i}: n{i + 1}\n" for i in range(200)) + "  n200: {default: 8}\n"
    spec = load_spec_text(f"family: x\nextends: llama\nconfig:\n{names}attention: {{window: n0}}\n")
    config = {key: value for key, value in CONFIG.items() if key != "alibi"}
    assert spec.bind(config).layers[0].attention.window == 8


def test_the_deepest_model_is_bound_quickly() -> None:
    started = time.monotonic()
    spec = load_spec(DATA / "qwen2.yaml", ["attention.window=layer + 1"])
    config = {key: value for key, value in CONFIG.items() if key != "alibi"}
    assert len(set(spec.bind({**config, "num_hidden_layers": 10_000}).layers)) == 10_000
    assert time.monotonic() - started < 20


def _bind(spec: Spec, config: dict[str, Any]) -> None:
    try:
        spec.bind(config)
    except ArchspecError as error:
        check(error)


def test_too_many_names() -> None:
    names = "".join(f"  n{i}:\n" for i in range(300))
    with pytest.raises(ArchspecError, match="x:4:3: config: more than 256 names"):
        load_spec_text(f"family: x\nextends: llama\nconfig:\n{names}", "x")
