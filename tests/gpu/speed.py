"""Prefill and decode speed next to transformers, eager and compiled with CUDA graphs, and to the memory's limit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archc.compiler.build import build
from archc.runtime.engine import load
from tests.gpu.parity import engine_options

FAMILY, SIZE = "qwen2", "0.5b"
_PROMPT, _NEW, _ROUNDS = 512, 128, 3


@dataclass(frozen=True)
class Speed:
    """Tokens per second of one runner, and its share of the memory bandwidth's limit in decode."""

    runner: str
    dtype: str
    prefill: float
    decode: float
    share: float | None


def measure(targets: Sequence[str], dtype: str, folder: Path, bandwidth: float | None) -> Iterator[Speed]:
    """Yield the speed of each runner: medians of several rounds after a warm-up."""
    prompt = np.random.default_rng(0).integers(0, 150_000, _PROMPT).tolist()
    weights = 0
    for target in targets:
        options = {"engine": engine_options(target)} if target.startswith("tensorrt") else {}
        options |= {"target": target, "dtype": dtype, "max_seq_len": 1024}
        plan = build(FAMILY, size=SIZE, random=0, out=folder / f"{target}.plan", **options)
        for graphs in (False, True):
            engine = load(plan, cuda_graph=graphs)
            weights = 2 * engine.manifest.parameters if dtype != "float32" else 4 * engine.manifest.parameters

            def run(new: int, engine: Any = engine) -> object:
                return engine.generate([prompt], new, ignore_eos=True)

            yield _speed(f"archc {target}{', CUDA graphs' if graphs else ''}", dtype, run, weights, bandwidth)
            engine.close()
    yield from _peers(prompt, dtype, weights, bandwidth)


def _peers(prompt: list[int], dtype: str, weights: int, bandwidth: float | None) -> Iterator[Speed]:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(config).to(getattr(torch, dtype)).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    ids = torch.tensor([prompt], device="cuda")
    for mode, options in (("eager", {}), ("compiled, CUDA graphs", {"cache_implementation": "static"})):

        def run(new: int, options: dict[str, Any] = options) -> object:
            with torch.no_grad():
                model.generate(ids, max_new_tokens=new, min_new_tokens=new, do_sample=False, **options)
            torch.cuda.synchronize()
            return None

        yield _speed(f"transformers {mode}", dtype, run, weights, bandwidth)


def _speed(runner: str, dtype: str, run: Callable[[int], object], weights: int, bandwidth: float | None) -> Speed:
    def seconds(new: int) -> float:
        begin = time.perf_counter()
        run(new)
        return time.perf_counter() - begin

    seconds(_NEW)
    seconds(1)
    first = statistics.median(seconds(1) for _ in range(_ROUNDS))
    whole = statistics.median(seconds(_NEW) for _ in range(_ROUNDS))
    decode = (_NEW - 1) / max(whole - first, 1e-9)
    return Speed(runner, dtype, _PROMPT / first, decode, decode * weights / bandwidth if bandwidth else None)
