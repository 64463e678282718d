"""Speed and memory of a plan: prefill, decode, batches, first token, loading."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from archc.bench.costs import Costs, Work
from archc.bench.figures import Figure, cost_figure, rate_figure
from archc.bench.machine import Product, best_product, memory_bandwidth
from archc.bench.rounds import EngineRounds, SlotRounds, generate, start_tokens
from archc.plan.manifest import Manifest
from archc.runtime.engine import Engine, load
from archc.runtime.errors import PromptError

_RESIDENT_UNIT = 1024  # bytes of getrusage's unit on Linux
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class BenchOptions:
    """Lengths of prompts, tokens to decode, sequences of batches, repetitions, CPU threads, and the seed of the ids."""

    prompt_tokens: Sequence[int] = (128, 512)
    new_tokens: int = 32
    batches: Sequence[int] = (1, 2, 4, 8)
    runs: int = 3
    threads: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Machine:
    """Measured limits; None on devices other than a CPU. `load` are the machine's load averages of 1, 5 and 15 min."""

    threads: int
    device: str
    bandwidth: float | None
    product: Product | None
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float]


@dataclass(frozen=True)
class Report:
    """All figures of a plan."""

    manifest: Manifest
    machine: Machine
    figures: tuple[Figure, ...]
    state_per_token: int
    state_fixed: int
    weight_bytes: int


@dataclass
class _Run:
    """Seconds of several runs; each has that many tokens, in calls of that work."""

    name: str
    tokens: int
    work: Work
    calls: int = 1
    unit: str = "tokens/s"
    seconds: list[float] = field(default_factory=list)


def bench(path: Path, options: BenchOptions, progress: Progress = lambda name, done, total: None) -> Report:
    """Measure a plan with random ids; raise PromptError for lengths that do not fit it.

    The peak of resident memory is that of this process up to the end of the runs of one sequence: everything that a
    process loads to run the plan counts, and the measurement of the limits comes later.
    """
    before = os.getloadavg()
    loads = []
    for _ in range(options.runs):
        begin = time.perf_counter()
        engine = load(path, options.threads)
        loads.append(time.perf_counter() - begin)
        if len(loads) < options.runs:
            engine.close()
            del engine
            gc.collect()  # a session that is not freed yet would count twice in the peak
    manifest, costs = engine.manifest, Costs(engine.manifest)
    _check(manifest, options)
    runs = _single(engine, costs, options, progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RESIDENT_UNIT
    threads, device = engine.timing["threads"], engine.timing["device"]
    if manifest.topology == "encoder":
        runs += _batches(engine, costs, options, progress)
        engine.close()
    elif manifest.packed is None:
        runs += _batch_decode(EngineRounds(engine), costs, options, progress)
        engine.close()
    else:
        engine.close()
        del engine
        gc.collect()
        rounds = SlotRounds(path, options.threads, max(options.batches))
        runs += _batch_decode(rounds, costs, options, progress)
        rounds.close()
    bandwidth = product = None
    if device == "cpu":
        progress("limits of the machine", 0, 1)
        bandwidth = memory_bandwidth(threads, int(costs.step_bytes))
        product = best_product(manifest, threads)
    length = max(options.prompt_tokens) + (options.new_tokens if manifest.topology != "encoder" else 0)
    least_memory = costs.weight_bytes + costs.state_per_token() * length + costs.state_fixed(length)
    figures = (
        *(_figure(run, bandwidth, product) for run in runs),
        cost_figure("load", "s", loads, costs.weight_bytes / bandwidth if bandwidth else None, "memory"),
        cost_figure("peak resident memory", "bytes", [peak], least_memory, "weights and state"),
    )
    machine = Machine(threads, device, bandwidth, product, before, os.getloadavg())
    return Report(manifest, machine, figures, costs.state_per_token(), costs.state_fixed(length), costs.weight_bytes)


def _check(manifest: Manifest, options: BenchOptions) -> None:
    limits = (manifest.encoder or manifest).limits
    new = options.new_tokens + 1 if manifest.topology == "decoder" else 0
    longest = max(options.prompt_tokens)
    if longest + new > limits.max_seq_len:
        raise PromptError(
            f"--prompt-tokens {longest}: expected at most {max(limits.max_seq_len - new, 0)}, because the plan's "
            f"maximum is {limits.max_seq_len} tokens with the new ones; use fewer"
        )
    if manifest.topology == "encoder-decoder" and options.new_tokens + 2 > manifest.limits.max_seq_len:
        raise PromptError(
            f"--new-tokens {options.new_tokens}: expected fewer than the plan's maximum, {manifest.limits.max_seq_len}"
        )


def random_rows(manifest: Manifest, rows: int, length: int, seed: int) -> list[list[int]]:
    """Return random token ids, without special tokens that a plan does not expect in a prompt."""
    limits, tokens = (manifest.encoder or manifest).limits, manifest.tokens
    special = {tokens.pad, *tokens.never, *((manifest.prefix.end, *manifest.prefix.blanks) if manifest.prefix else ())}
    ids = np.array([token for token in range(limits.vocab_size) if token not in special] or [0])
    found: list[list[int]] = np.random.default_rng(seed).choice(ids, (rows, length)).tolist()
    return found


def _single(engine: Engine, costs: Costs, options: BenchOptions, progress: Progress) -> list[_Run]:
    """Measure the prefill, first token and decode of one sequence, after a run that warms up."""
    manifest, found = engine.manifest, list[_Run]()
    for done, length in enumerate(options.prompt_tokens):
        progress(f"prompt of {length} tokens", done, len(options.prompt_tokens))
        ids = random_rows(manifest, 1, length, options.seed)
        prefill = _Run(f"prefill, {length} tokens", length, costs.prompt(1, length))
        found.append(prefill)
        if manifest.topology == "encoder":
            prefill.seconds += _timed(partial(engine.encode, ids), options.runs)
            continue
        own = length if manifest.encoder is None else len(start_tokens(manifest))
        middle = own + options.new_tokens // 2
        decode = _Run(f"decode after {length} tokens", options.new_tokens, costs.step(1, middle), options.new_tokens)
        first = _Run(f"first token, {length} tokens", 1, costs.prompt(1, length), unit="s")
        for _ in range(options.runs + 1):
            timing = generate(engine, ids, options.new_tokens + 1)
            prefill.seconds.append(timing["prefill_s"])
            decode.seconds.append(timing["decode_s"])
        first.seconds = prefill.seconds
        for run in (prefill, decode):
            del run.seconds[0]
        found += [first, decode]
    return found


def _batches(engine: Engine, costs: Costs, options: BenchOptions, progress: Progress) -> list[_Run]:
    """Measure an encoder with several texts a call."""
    length, found = min(options.prompt_tokens), list[_Run]()
    for done, batch in enumerate(options.batches):
        progress(f"{batch} texts", done, len(options.batches))
        rows = random_rows(engine.manifest, batch, length, options.seed)
        run = _Run(f"{batch} texts of {length} tokens", batch * length, costs.prompt(batch, length))
        run.seconds += _timed(partial(engine.encode, rows), options.runs)
        found.append(run)
    return found


def _batch_decode(
    rounds: SlotRounds | EngineRounds, costs: Costs, options: BenchOptions, progress: Progress
) -> list[_Run]:
    """Measure the decode of several sequences at a time."""
    manifest, length, found = costs.manifest, min(options.prompt_tokens), list[_Run]()
    own = length if manifest.encoder is None else len(start_tokens(manifest))
    for done, batch in enumerate(options.batches):
        progress(f"{batch} sequences", done, len(options.batches))
        rows = random_rows(manifest, batch, length, options.seed)
        work = costs.step(batch, own + options.new_tokens // 2)
        tokens = batch * options.new_tokens
        run = _Run(f"batch decode, {batch} at a time", tokens, work, options.new_tokens)
        run.seconds += [rounds.decode(rows, options.new_tokens) for _ in range(options.runs + 1)][1:]
        found.append(run)
    return found


def _timed(function: Callable[[], object], runs: int) -> list[float]:
    """Return the seconds of several calls, after one that warms up."""
    seconds = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def _figure(run: _Run, bandwidth: float | None, product: Product | None) -> Figure:
    least = bound = None
    if bandwidth is not None and product is not None:
        least, bound = run.work.seconds(bandwidth, product.rate), run.work.bound(bandwidth, product.rate)
    if run.unit == "s":
        return cost_figure(run.name, "s", run.seconds, least, bound)
    return rate_figure(run.name, run.tokens, run.seconds, least * run.calls if least else None, bound)
