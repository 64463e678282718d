"""Prefill and decode speed of a plan next to the machine's limits: python benchmarks/speed.py engine.plan.

Decode reads every weight once a token, so bytes over bandwidth is its limit; prefill is bound by arithmetic.
Figures are medians over rounds; they belong to the machine, their share of the limit travels.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np

import archc


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("plan")
    options.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    options.add_argument("--new", type=int, default=64, help="tokens to decode")
    options.add_argument("--batch", type=int, default=1, help="sequences side by side; speeds are of all together")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int)
    given = options.parse_args()

    begin = time.perf_counter()
    engine = archc.load(given.plan, threads=given.threads)
    loaded = time.perf_counter() - begin
    rows = np.random.default_rng(0).integers(0, engine.vocab_size, (given.batch, given.prompt)).tolist()
    prefill, decode = [], []
    for _ in range(given.rounds + 1):
        timing = engine.run(rows, max_new_tokens=given.new + 1, ignore_eos=True).timing
        prefill.append(given.batch * given.prompt / timing["prefill_s"])
        decode.append(given.batch * given.new / timing["decode_s"])

    threads = engine.timing["threads"]
    manifest = engine.manifest
    weights = sum(tensor.bytes for tensor in manifest.tensors)
    bandwidth, rate = memory_bandwidth(threads), float32_rate()
    # The first round warms up. A token table that is only looked up is not read whole.
    medians = {"prefill": statistics.median(prefill[1:]), "decode": statistics.median(decode[1:])}
    # A step reads the weights once for all sequences.
    limits = {"prefill": rate / manifest.flops_per_token, "decode": given.batch * bandwidth / weights}
    print(f"{given.plan}: {manifest.parameters:,} parameters, {weights:,} bytes of weights, {manifest.dtype}")
    print(f"{threads} threads, {bandwidth / 1e9:.1f} GB/s, {rate / 1e9:.0f} GFLOP/s float32, load {loaded:.2f} s")
    for name, value in medians.items():
        print(f"{name:8} {value:9.1f} tok/s   limit {limits[name]:9.1f}   {value / limits[name]:6.1%}")
    print(f"peak resident {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
