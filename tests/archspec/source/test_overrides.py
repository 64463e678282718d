from __future__ import annotations

from typing import Any

import pytest

from archc.archspec import BoundSpec, SpecError, load_spec_text
from archc.archspec.vocabulary import Alibi, GatedMlp, LayerNorm, NoPosition, ProjectionBias
from archc.archspec.vocabulary.norm import PlacedLayerNorm
from tests.archspec.samples import Load


def value_at(bound: BoundSpec, path: str) -> Any:
    """The value at a path of a bound spec; `layer` is the first layer."""
    value: Any = bound
    for name in path.split("."):
        value = value.layers[0] if name == "layer" else getattr(value, name)
    return value


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("layer.norm.placement=post", "layer.norm.placement", "post"),
        ("layer.norm.kind=layernorm", "layer.norm", PlacedLayerNorm(eps=1e-6)),
        ("layer.norm={kind: layernorm, eps: 1e-3}", "layer.norm", PlacedLayerNorm(eps=1e-3)),
        ("position=alibi", "layer.position", Alibi()),
        ("position=", "layer.position", NoPosition()),
        ("position.theta=5e5", "layer.position.theta", 500000.0),
        ("final_norm.kind=layernorm", "final_norm", LayerNorm(eps=1e-6)),
        ("mlp.width=3 * hidden_size", "layer.mlp", GatedMlp(width=192, activation="silu")),
        ("attention.bias=true", "layer.attention.bias", ProjectionBias(qkv=True, keys=True, out=True)),
        ("hidden_size=128", "embedding.width", 128),
        ("hidden_size=128", "layer.attention.head_dim", 32),
        ("context=64", "context", 64),
    ],
    ids=str,
)
def test_overrides(load: Load, override: str, path: str, expected: object) -> None:
    bound = load("", override).bind()
    assert value_at(bound, path) == expected
    assert bound.overrides == (override,)
    again = load_spec_text(bound.text).bind(bound.config)
    assert (again.layers, again.embedding, again.context) == (bound.layers, bound.embedding, bound.context)


def test_an_override_with_a_pattern(load: Load) -> None:
    layers = load("", "attention.window=[8, none]").bind().layers
    assert [layer.attention.window for layer in layers] == [8, None, 8, None]


def test_later_overrides_take_precedence(load: Load) -> None:
    assert load("", "mlp.width=8", "mlp.width=16").bind().layers[0].mlp.width == 16


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("layer.norm.palcement=post", "--set layer.norm.palcement: unknown key 'palcement'"),
        ("layer.norm.placement=pots", "--set layer.norm.placement: expected one of pre"),
        (
            "atention.heads=3",
            "--set atention.heads: no section or config name 'atention.heads'; did you mean 'attention'?",
        ),
        ("hiden_size=3", "did you mean 'hidden_size'?"),
        ("weights.ignore=[a]", "no section or config name 'weights.ignore'"),
        ("attention.heads", "--set: expected path=value, got 'attention.heads'"),
        ("=3", "expected path=value"),
        ("attention..heads=3", "expected path=value"),
        ("attention.heads=[", "--set attention.heads: "),
        ("attention.heads.x=3", "expected an integer, got a mapping"),
    ],
)
def test_invalid_overrides(load: Load, override: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load("", override)
    assert message in str(raised.value)
