"""Caches of 8 bits: what they hold, how near the logits stay, and that calls of any size agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.runtime.engine import Engine, load

SPEC = """
family: cached
extends: llama
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 32, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4,
     num_key_value_heads: 2, max_position_embeddings: 512}
"""
CHANGES = {
    "grouped": (),
    "rings": ("attention.window=5 if layer == 0 else none",),
    "capped": ("attention.softcap=5.0",),  # its products are not of the fused form
}
LENGTH = 150


def both(text: str, folder: Path, overrides: tuple[str, ...] = ()) -> tuple[Engine, Engine]:
    """One model twice: with caches as they are, and of 8 bits."""
    spec = folder / "tiny.yaml"
    spec.write_text(text)
    plans = (
        build(spec, random=3, size="tiny", out=folder / f"{kv}.plan", kv=kv, overrides=overrides)
        for kv in (None, "int8")
    )
    exact, near = (load(plan, threads=1) for plan in plans)
    return exact, near


def check_near(exact: Engine, near: Engine) -> None:
    """Logits are near, and the same in calls of any size."""
    rows = np.random.default_rng(0).integers(0, 50, (2, LENGTH))
    wanted, whole = exact.logits(rows), near.logits(rows)
    assert 0 < np.abs(whole - wanted).mean() / np.abs(wanted).mean() < 0.01
    sequences = near.sequences(2)
    start = 0
    for size in (1, 1, 7, 64, 1, 30, 1, 45):
        got = sequences.append(rows[:, start : start + size], logits="all")
        # Queries and weights of one call share their rounding, so calls agree as near as the bits allow.
        assert np.abs(got - whole[:, start : start + size]).mean() / np.abs(wanted).mean() < 0.01
        start += size
    assert start == LENGTH


def held(engine: Engine) -> dict[str, NDArray[Any]]:
    """What an engine's caches hold after three tokens, by input."""
    sequences = engine.sequences(1)
    sequences.append([[5, 9, 11]], logits="none")
    return {binding.input: binding.buffer.host for binding in sequences._cache.bindings}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_logits_stay_near_and_calls_of_any_size_agree(change: tuple[str, ...], tmp_path: Path) -> None:
    exact, near = both(SPEC, tmp_path, change)
    check_near(exact, near)
    caches = [state for state in near.manifest.state if state.dtype == "int8"]
    assert len(caches) == 4
    wide = sum(np.prod([size for size in state.shape if isinstance(size, int)]) for state in caches)
    assert wide == 2 * 2 * 2 * 8  # layers, keys and values, heads, width


def test_a_cache_holds_each_token_within_half_a_step(tmp_path: Path) -> None:
    numbers, bits = map(held, both(SPEC, tmp_path))
    for name in ("key", "value"):
        exact = numbers[f"past_key_values.0.{name}"][:, :, :3]
        integers = bits[f"past_key_values.0.{name}"]
        integers = integers.swapaxes(2, 3)[:, :, :3] if name == "key" else integers[:, :, :3]
        scales = bits[f"past_key_values.0.{name}.scale"][:, :, :, :3].swapaxes(2, 3)
        assert np.array_equal(scales, np.abs(exact).max(-1, keepdims=True) * np.float32(1 / 127))
        assert (np.abs(integers * scales - exact) <= scales * 0.5001).all()
        assert np.abs(integers).max() == 127


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv": "int4"}, "--kv int4 is not supported by target 'ort-cpu'; choose int8"),
        ({"kv": "int8", "target": "onnx"}, "--kv int8 is not supported by target 'onnx'; remove --kv"),
        ({"kv": "int8", "dtype": "float16"}, "remove --dtype float16"),
        ({"quantize": "int2"}, "--quantize int2 is not supported by target 'ort-cpu'; choose int8 or int4"),
        (
            {"quantize": "int8", "target": "onnx"},
            "--quantize int8 is not supported by target 'onnx'; remove --quantize",
        ),
        ({"quantize": "int8", "dtype": "float16"}, "remove --dtype float16"),
    ],
)
def test_what_a_target_does_not_have(options, message, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=message):
        build("llama", random=0, out=tmp_path / "p.plan", **options)
    assert not list(tmp_path.iterdir())


LATENT = """
family: latent-cached
extends: minicpm3
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 32, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4,
     kv_lora_rank: 10, q_lora_rank: 12, qk_nope_head_dim: 6, qk_rope_head_dim: 4, v_head_dim: 7,
     max_position_embeddings: 512, rope_scaling: none, dim_model_base: 32}
"""


def test_a_latent_and_its_rotating_key_have_a_scale_each(tmp_path: Path) -> None:
    engines = both(LATENT, tmp_path)
    check_near(*engines)  # a prompt expands the latents, and a single token does not: both read the same cache
    numbers, bits = map(held, engines)
    exact = numbers["past_key_values.0.latent"][:, :, :3]
    integers = bits["past_key_values.0.latent"][:, :, :3]
    scales = bits["past_key_values.0.latent.scale"][:, :, :, :3].swapaxes(2, 3)
    assert integers.dtype == np.int8
    assert integers.shape == (1, 1, 3, 14)
    assert scales.shape == (1, 1, 3, 2)
    for part, scale in ((slice(0, 10), scales[..., :1]), (slice(10, 14), scales[..., 1:])):
        assert np.array_equal(scale, np.abs(exact[..., part]).max(-1, keepdims=True) * np.float32(1 / 127))
        assert (np.abs(integers[..., part] * scale - exact[..., part]) <= scale * 0.5001).all()
