"""Time a token against the number of experts, a token's own share of them constant: python benchmarks/experts.py.

Builds small random mixtures that differ in nothing but how many experts they have, and runs each at several numbers of
tokens a call. The limit is what a call must read, over the bandwidth of memory: every other weight, and each of the
experts that its tokens use, here those that evenly spread choices would use. Many tokens are bound by arithmetic
instead, and the last column compares with that.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import archc
from archc.bench.machine import best_product, memory_bandwidth

SIZES = {
    "hidden_size": 1024,
    "moe_intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 256,
    "max_position_embeddings": 4096,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--experts", type=int, nargs="+", default=[8, 64, 128])
    options.add_argument("--per-token", type=int, default=4)
    options.add_argument("--tokens", type=int, nargs="+", default=[1, 8, 512], help="tokens of a call")
    options.add_argument("--seconds", type=float, default=2.0, help="time to spend on each figure")
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()

    bandwidth = memory_bandwidth(given.threads)
    print(f"{given.threads} threads, {bandwidth / 1e9:.1f} GB/s")
    print(
        f"{given.per_token} experts a token of {SIZES['hidden_size']} x {SIZES['moe_intermediate_size']}, "
        f"{SIZES['num_hidden_layers']} layers; the least of several calls"
    )
    print("experts  tokens   ms a call   ms by memory   share   ms by arithmetic   share   load s")
    for experts in given.experts:
        with tempfile.TemporaryDirectory() as folder:
            plan = build(Path(folder) / "engine.plan", experts, given.per_token)
            measure(plan, experts, given, bandwidth)


def build(path: Path, experts: int, per_token: int) -> Path:
    """Build a random mixture with that many experts."""
    sizes = {**SIZES, "num_experts": experts, "num_experts_per_tok": per_token}
    overrides = [f"{name}={value}" for name, value in sizes.items()]
    return archc.build("qwen3-moe", size="30b-a3b", random=0, out=path, overrides=overrides)


def measure(plan: Path, experts: int, given: argparse.Namespace, bandwidth: float) -> None:
    """One line for each number of tokens."""
    begin = time.perf_counter()
    engine = archc.load(plan, threads=given.threads)
    loaded = time.perf_counter() - begin
    tensors = engine.manifest.tensors
    rate = best_product(engine.manifest, given.threads).rate
    routed = sum(tensor.bytes for tensor in tensors if ".experts." in tensor.name)
    others = sum(tensor.bytes for tensor in tensors) - routed
    for tokens in given.tokens:
        used = 1 - (1 - given.per_token / experts) ** tokens  # the share of experts that somebody chose
        memory = (others + routed * used) / bandwidth
        arithmetic = tokens * engine.manifest.flops_per_token / rate
        took = fastest(engine, tokens, given.seconds)
        print(
            f"{experts:7} {tokens:7} {took * 1e3:11.2f} {memory * 1e3:14.2f} {memory / took:7.0%} "
            f"{arithmetic * 1e3:18.2f} {arithmetic / took:7.0%} {loaded:8.1f}"
        )
    engine.close()


def fastest(engine: archc.Engine, tokens: int, seconds: float) -> float:
    """Seconds of the fastest call: one token of each of that many rows, or of up to 8 rows and then in longer ones."""
    rows = min(tokens, 8)
    random, best, end = np.random.default_rng(0), float("inf"), time.perf_counter() + seconds
    calls = 0
    while calls < 3 or time.perf_counter() < end:
        sequences = engine.sequences(rows, tokens // rows)
        ids = random.integers(0, engine.vocab_size, (rows, tokens // rows)).tolist()
        begin = time.perf_counter()
        sequences.append(ids)
        best = min(best, time.perf_counter() - begin)
        calls += 1
    return best


if __name__ == "__main__":
    main()
