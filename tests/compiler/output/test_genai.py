"""genai_config.json of decoders with caches and states of fixed size, and the reasons for having none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archc.archspec import BoundSpec, load_spec
from archc.compiler.build import build
from archc.compiler.output.genai import NotRunError, genai_config
from archc.compiler.weights.checkpoint.generation import SpecialTokens
from archc.plan.records import State

ENDS = SpecialTokens(bos=1, eos=(2, 3), pad=None)


def bound(family: str, layers: int) -> BoundSpec:
    """A spec of as many layers."""
    sizes = {"qwen2": "0.5b", "t5": "small"}
    overrides = [] if family == "t5" else [f"num_hidden_layers={layers}"]
    return load_spec(family, overrides).bind(None, sizes[family])


def states(*items: tuple[str, tuple[int | str, ...]]) -> list[State]:
    """The states of names after `past_`, without the batch in their shapes."""
    return [State("fixed", f"past_{name}", f"present_{name}", "float32", ("batch", *shape)) for name, shape in items]


def attention(layer: int, heads: int = 2, width: int = 6) -> list[State]:
    shape = (heads, "capacity", width)
    return states((f"key_values.{layer}.key", shape), (f"key_values.{layer}.value", shape))


def recurrence(layer: int, kind: str = "ssm", width: int = 5) -> list[State]:
    return states((f"conv.{layer}", (3, width)), (f"{kind}.{layer}", (4, width)))


def convolution(layer: int) -> list[State]:
    return states((f"conv.{layer}", (3, 7)))


def test_attention_alone_has_the_sizes_of_its_first_cache() -> None:
    config = genai_config(bound("qwen2", 3), [*attention(0), *attention(2, heads=1, width=8)], 64, ENDS)
    model, decoder = config["model"], config["model"]["decoder"]
    assert (model["type"], model["eos_token_id"], model["pad_token_id"], model["context_length"]) == (
        "decoder",
        [2, 3],
        2,
        64,
    )
    assert (decoder["num_hidden_layers"], decoder["num_key_value_heads"], decoder["head_size"]) == (3, 2, 6)
    assert decoder["num_attention_heads"] == 14
    assert decoder["inputs"]["past_key_names"] == "past_key_values.%d.key"
    assert decoder["outputs"]["present_value_names"] == "present.%d.value"
    assert not {"past_conv_names", "past_recurrent_names"} & set(decoder["inputs"])


@pytest.mark.parametrize("kind", ["ssm", "recurrent"])
def test_a_hybrid_has_patterns_of_both_states_of_a_recurrence(kind: str) -> None:
    model = genai_config(bound("qwen2", 2), [*recurrence(0, kind), *attention(1)], 64, ENDS)["model"]
    assert model["type"] == "decoder"
    assert "layer_types" not in model["decoder"]
    assert model["decoder"]["inputs"]["past_conv_names"] == "past_conv.%d"
    assert model["decoder"]["inputs"]["past_recurrent_names"] == f"past_{kind}.%d"
    assert model["decoder"]["outputs"]["present_recurrent_names"] == f"present_{kind}.%d"


def test_convolutions_alone_are_the_type_lfm2() -> None:
    model = genai_config(bound("qwen2", 3), [*convolution(0), *attention(1), *convolution(2)], 64, ENDS)["model"]
    assert model["type"] == "lfm2"
    assert model["decoder"]["layer_types"] == ["conv", "full_attention", "conv"]
    assert model["decoder"]["inputs"]["past_conv_names"] == "past_conv.%d"


REFUSED = {
    "a state without a name": (states(("shift.0", (1, 8))), "no name for the state past_shift.0"),
    "latents": (states(("key_values.0.latent", (1, "capacity", 8))), "no name for the state past_key_values.0.latent"),
    "an indexer's keys": (
        states(("key_values.0.indexer.key", (1, "capacity", 8))),
        "no name for the state past_key_values.0.indexer.key",
    ),
    "keys alone": (states(("key_values.0.key", (1, "capacity", 8))), "keys and values of a layer have different"),
    "wider keys": (
        states(("key_values.0.key", (1, "capacity", 8)), ("key_values.0.value", (1, "capacity", 4))),
        "keys and values of a layer have different",
    ),
    "two widths": ([*recurrence(0), *recurrence(1, width=6)], "the states past_conv.N have different shapes"),
    "two kinds": ([*recurrence(0), *recurrence(1, "recurrent")], "no common pattern"),
    "no convolution": (states(("recurrent.0", (2, 4, 4))), "past_recurrent.N is found by past_conv.N"),
    "a convolution next to attention": ([*convolution(0), *attention(0), *attention(1)], "convolutions without a"),
    "a layer without state": ([*convolution(0), *attention(1)], "convolutions without a"),
    "attention of two shapes": ([*convolution(0), *attention(1), *attention(2, heads=1)], "convolutions without a"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_is_not_run_has_a_reason(case: str) -> None:
    items, reason = REFUSED[case]
    layers = 3 if case == "attention of two shapes" or case == "a layer without state" else 2
    with pytest.raises(NotRunError, match=re.escape(reason)):
        genai_config(bound("qwen2", layers), items, 64, ENDS)


def test_an_encoder_decoder_is_not_run() -> None:
    with pytest.raises(NotRunError, match="it generates with decoders alone"):
        genai_config(bound("t5", 0), [], 64, ENDS)


def test_a_build_names_the_reason(tmp_path: Path) -> None:
    overrides = [f"{name}={size}" for name, size in (("num_hidden_layers", 1), ("vocab_size", 64), ("hidden_size", 64))]
    warnings: list[str] = []
    folder = build(
        "rwkv6", random=0, size="1b6", overrides=overrides, target="onnx-hf", out=tmp_path / "hf", warn=warnings.append
    )
    assert not (folder / "genai_config.json").exists()
    (note,) = (text for text in warnings if text.startswith("genai_config.json"))
    assert note == (
        "genai_config.json: not written, because onnxruntime-genai cannot run this model: "
        "it has no name for the state past_shift.0; use another runtime"
    )
