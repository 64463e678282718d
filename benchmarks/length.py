"""Time of one decoded token at several lengths of its sequence: python benchmarks/length.py engine.plan.

A recurrence reads the same state whatever the length; attention reads its keys and values, which grow. The limit is
what a token has to read, weights and state, over the bandwidth that is measured here and now.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import archc
from archc.bench.costs import Costs
from archc.bench.machine import memory_bandwidth


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("plan")
    options.add_argument("--lengths", type=int, nargs="+", default=[64, 4096], help="live tokens before the step")
    options.add_argument("--steps", type=int, default=24, help="tokens decoded at each length")
    options.add_argument("--chunk", type=int, default=512, help="tokens a call takes in on the way")
    options.add_argument("--threads", type=int)
    given = options.parse_args()

    engine = archc.load(given.plan, threads=given.threads)
    manifest = engine.manifest
    ids = np.random.default_rng(0).integers(0, engine.vocab_size, (1, max(given.lengths) + given.steps + 1))
    threads = engine.timing["threads"]
    costs = Costs(manifest)
    bandwidth = memory_bandwidth(threads, int(costs.step_bytes))
    print(f"{given.plan}: {manifest.family}, {manifest.parameters:,} parameters, {manifest.dtype}")
    print(f"{threads} threads, {bandwidth / 1e9:.1f} GB/s, {costs.step_bytes:,.0f} bytes of weights a token")
    live, rates = {}, {}
    for length in given.lengths:
        live[length], begin = engine.sequences(1), time.perf_counter()
        for start in range(0, length, given.chunk):
            live[length].append(ids[:, start : min(start + given.chunk, length)], logits="none")
        rates[length] = length / (time.perf_counter() - begin)
        live[length].reserve(length + given.steps + 1)
    times: dict[int, list[float]] = {length: [] for length in given.lengths}
    # By turns, so that what else the machine does falls on all lengths alike.
    for step in range(given.steps + 1):
        for length, sequences in live.items():
            begin = time.perf_counter()
            sequences.append(ids[:, length + step : length + step + 1])
            times[length].append(time.perf_counter() - begin)
    for length in given.lengths:
        read = costs.step(1, length).bytes
        median, limit = statistics.median(times[length][1:]), read / bandwidth
        print(
            f"{length:6,} tokens: {median * 1e3:8.2f} ms a token, {read - costs.step_bytes:>12,.0f} bytes of state, "
            f"limit {limit * 1e3:7.2f} ms, {limit / median:5.1%}; taken in at {rates[length]:,.0f} tok/s"
        )
    engine.close()


if __name__ == "__main__":
    main()
