"""Token mixers by length, in models that differ in nothing else: python benchmarks/mixers.py recurrences|indexers.

`recurrences` are layers of one mixer alone, as wide as the model. `indexers` are small models of DeepSeek V3.2's and of
MiniMax M3's attention, with the published sizes of heads, latents and selections, with an indexer and without one. The
plans of a set take turns. A prompt is the call of 512 tokens that ends at the length; a token is decoded after it, and
the share is that of its time which the length adds, against the shortest length.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import archc

WIDTH, LAYERS, CALL = 1024, 4, 512
ALONE = """
family: {name}
topology: decoder
context: 32768
embedding: {{vocab: 256, width: {width}}}
position: {position}
layer: {{count: {layers}, norm: {{kind: rmsnorm, eps: 1e-6, placement: pre, branches: mixer}}}}
attention: {attention}
recurrence: {recurrence}
mlp: none
final_norm: {{kind: rmsnorm, eps: 1e-6}}
head: {{kind: lm, tie: true}}
"""
STATES = "kind: matrix-state, convolution: {kernel: 4}, activation: silu, gate: {activation: silu}"
DELTA = f"{STATES}, heads: 8, key_dim: 128, value_dim: 128, update: delta, qk_norm: {{kind: l2norm, eps: 1e-6}}"
MAMBA = f"{STATES}, key_heads: 1, key_dim: 128, value_dim: 64, skip: true, decay: {{kind: step, scales_values: true}}"
RECURRENCES = {
    "gated delta net": f"{{{DELTA}, decay: step}}",
    "delta net, decay by channel": f"{{{DELTA}, decay: {{kind: step, over: channels}}}}",
    "mamba-2": f"{{{MAMBA}, heads: {WIDTH // 64}}}",
    "mamba-2, twice as wide": f"{{{MAMBA}, heads: {2 * WIDTH // 64}}}",
    "short convolution": f"{{kind: short-convolution, width: {WIDTH}, convolution: {{kernel: 3}}}}",
}
COMMON = {"vocab_size": 2048, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 16}
LATENT = {"intermediate_size": 2048, "q_lora_rank": 512, "first_k_dense_replace": LAYERS, "index_n_heads": 8}
BLOCKS = {"dense_intermediate_size": 2048, "num_key_value_heads": 4, "moe_layer_freq": [0] * LAYERS}
LAYERS_WITH = "sparse_layers=[{0}, {0}, {0}, {0}]"
INDEXERS = {
    "latent attention, all keys": ("deepseek-v32", "671b", LATENT, ["attention.indexer=none"]),
    "latent attention, selected keys": ("deepseek-v32", "671b", LATENT, []),
    "grouped attention, all keys": ("minimax-m3-vl-text", "m3", BLOCKS, [LAYERS_WITH.format(0)]),
    "grouped attention, selected blocks": ("minimax-m3-vl-text", "m3", BLOCKS, [LAYERS_WITH.format(1)]),
}


def recurrences(folder: Path) -> Iterator[tuple[str, Path]]:
    """Build attention and each recurrence."""
    attention = {"attention": f"{{heads: 8, kv_heads: 8, head_dim: {WIDTH // 8}}}", "recurrence": "none"}
    kinds = {"attention": {**attention, "position": "{kind: rope, theta: 10000.0}"}}
    kinds |= {name: {"attention": "none", "position": "none", "recurrence": kind} for name, kind in RECURRENCES.items()}
    for number, (name, parts) in enumerate(kinds.items()):
        spec = folder / f"mixer-{number}.yaml"
        spec.write_text(ALONE.format(name=spec.stem, width=WIDTH, layers=LAYERS, **parts))
        yield name, archc.build(spec, random=0, out=folder / f"{number}.plan")


def indexers(folder: Path) -> Iterator[tuple[str, Path]]:
    """Build each attention to all keys, and to those that an indexer selects."""
    for number, (name, (spec, size, sizes, more)) in enumerate(INDEXERS.items()):
        overrides = [f"{key}={value}" for key, value in {**COMMON, **sizes}.items()] + more
        yield name, archc.build(spec, size=size, random=0, out=folder / f"{number}.plan", overrides=overrides)


def measure(plans: Mapping[str, Path], given: argparse.Namespace) -> None:
    """Print the figures of each length, for which the sequences of all plans grow together."""
    engines = {name: archc.load(path, threads=given.threads) for name, path in plans.items()}
    states = {name: engine.sequences(1) for name, engine in engines.items()}
    ids = np.random.default_rng(0).integers(0, 256, (1, max(given.lengths) + 1))
    shortest: dict[str, float] = {}
    print(f"{'tokens':>7} {'mixer':34} {'ms a prompt':>11} {'of the first':>12} {'ms a token':>10} {'share':>6}")
    begin = 0
    for length in given.lengths:
        for state in states.values():
            for start in range(begin, length - CALL, CALL):
                state.append(ids[:, start : min(start + CALL, length - CALL)], logits="none")
        prompts = by_turns(states, ids[:, length - CALL : length], given.runs)
        for state in states.values():
            state.append(ids[:, length - CALL : length], logits="none")
        tokens = by_turns(states, ids[:, length : length + 1], given.steps)
        begin, first = length, next(iter(prompts.values()))
        for name, prompt in prompts.items():
            share = 1 - shortest.setdefault(name, tokens[name]) / tokens[name]
            print(
                f"{length:7,} {name:34} {prompt * 1e3:11.1f} {prompt / first:12.2f} {tokens[name] * 1e3:10.2f} "
                f"{share:6.0%}",
                flush=True,
            )
    for engine in engines.values():
        engine.close()


def by_turns(states: Mapping[str, Any], ids: Any, runs: int) -> dict[str, float]:
    """Return the least seconds of a call that appends tokens; they are taken back."""
    times: dict[str, list[float]] = {name: [] for name in states}
    for _ in range(runs):
        for name, state in states.items():
            begin = time.perf_counter()
            state.append(ids, logits="last")
            times[name].append(time.perf_counter() - begin)
            state.rewind(ids.shape[1])
    return {name: min(seconds) for name, seconds in times.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("set", choices=("recurrences", "indexers"))
    options.add_argument("--lengths", type=int, nargs="+", default=[512, 1000, 4000, 8000, 16000])
    options.add_argument("--runs", type=int, default=4, help="calls of 512 tokens at each length")
    options.add_argument("--steps", type=int, default=15, help="tokens decoded at each length")
    options.add_argument("--threads", type=int)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build = {"recurrences": recurrences, "indexers": indexers}[given.set]
        measure(dict(build(Path(folder))), given)


if __name__ == "__main__":
    main()
