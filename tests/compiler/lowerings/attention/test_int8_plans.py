"""Plans with int8 KV caches: what the caches hold, how near the logits stay, and calls of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archc.compiler.build import build
from archc.runtime.engine import Engine, load

SPEC = """
family: cached
extends: llama
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 32, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4,
     num_key_value_heads: 2, max_position_embeddings: 512}
"""
LATENT = """
family: latent-cached
extends: minicpm3
sizes:
  tiny:
    {vocab_size: 50, hidden_size: 32, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4,
     kv_lora_rank: 10, q_lora_rank: 12, qk_nope_head_dim: 6, qk_rope_head_dim: 4, v_head_dim: 7,
     max_position_embeddings: 512, rope_scaling: none, dim_model_base: 32}
"""
OVERRIDES = {
    "grouped": (),
    "rings": ("attention.window=5 if layer == 0 else none",),
    "softcap": ("attention.softcap=5.0",),
    "alibi": ("position=alibi",),
}
LENGTH = 150


def both(text: str, folder: Path, overrides: tuple[str, ...] = ()) -> tuple[Engine, Engine]:
    """Return one model twice: with float32 and with int8 caches."""
    spec = folder / "tiny.yaml"
    spec.write_text(text)
    plans = (
        build(spec, random=3, size="tiny", out=folder / f"{kv}.plan", kv=kv, overrides=overrides)
        for kv in (None, "int8")
    )
    exact, near = (load(plan, threads=1) for plan in plans)
    return exact, near


def check_near(exact: Engine, near: Engine) -> None:
    """Assert that logits are near, and the same in calls of any size."""
    rows = np.random.default_rng(0).integers(0, 50, (2, LENGTH))
    expected, whole = exact.logits(rows), near.logits(rows)
    assert 0 < np.abs(whole - expected).mean() / np.abs(expected).mean() < 0.01
    sequences = near.sequences(2)
    start = 0
    for size in (1, 1, 7, 64, 1, 30, 1, 45):
        result = sequences.append(rows[:, start : start + size], logits="all")
        # Queries and weights of one call share their rounding, so calls agree as nearly as int8 allows.
        assert np.abs(result - whole[:, start : start + size]).mean() / np.abs(expected).mean() < 0.01
        start += size
    assert start == LENGTH


def caches(engine: Engine) -> dict[str, NDArray[Any]]:
    """Return the caches of an engine after three tokens, by input."""
    sequences = engine.sequences(1)
    sequences.append([[5, 9, 11]], logits="none")
    return {binding.input: binding.buffer.host for binding in sequences._cache.bindings}


@pytest.mark.parametrize("overrides", OVERRIDES.values(), ids=OVERRIDES)
def test_logits_stay_near_and_calls_of_any_size_agree(overrides: tuple[str, ...], tmp_path: Path) -> None:
    exact, near = both(SPEC, tmp_path, overrides)
    check_near(exact, near)
    quantized = [state for state in near.manifest.state if state.dtype == "int8"]
    assert len(quantized) == 4
    sizes = sum(np.prod([size for size in state.shape if isinstance(size, int)]) for state in quantized)
    assert sizes == 2 * 2 * 2 * 8  # layers, keys and values, heads, width


def test_a_cache_holds_each_token_within_half_a_step(tmp_path: Path) -> None:
    numbers, quantized = map(caches, both(SPEC, tmp_path))
    for name in ("key", "value"):
        exact = numbers[f"past_key_values.0.{name}"][:, :, :3]
        integers = quantized[f"past_key_values.0.{name}"]
        integers = integers.swapaxes(2, 3)[:, :, :3] if name == "key" else integers[:, :, :3]
        scales = quantized[f"past_key_values.0.{name}.scale"][:, :, :, :3].swapaxes(2, 3)
        assert np.array_equal(scales, np.abs(exact).max(-1, keepdims=True) * np.float32(1 / 127))
        assert (np.abs(integers * scales - exact) <= scales * 0.5001).all()
        assert np.abs(integers).max() == 127


def test_a_latent_and_its_rotated_key_have_a_scale_each(tmp_path: Path) -> None:
    engines = both(LATENT, tmp_path)
    check_near(*engines)  # a prompt expands the latents, and a single token does not: both read the same cache
    numbers, quantized = map(caches, engines)
    exact = numbers["past_key_values.0.latent"][:, :, :3]
    integers = quantized["past_key_values.0.latent"][:, :, :3]
    scales = quantized["past_key_values.0.latent.scale"][:, :, :, :3].swapaxes(2, 3)
    assert integers.dtype == np.int8
    assert integers.shape == (1, 1, 3, 14)
    assert scales.shape == (1, 1, 3, 2)
    for part, scale in ((slice(0, 10), scales[..., :1]), (slice(10, 14), scales[..., 1:])):
        assert np.array_equal(scale, np.abs(exact[..., part]).max(-1, keepdims=True) * np.float32(1 / 127))
        assert (np.abs(integers[..., part] * scale - exact[..., part]) <= scale * 0.5001).all()
