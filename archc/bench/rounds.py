"""Decoding of several sequences at a time, through the graph that serves many sequences if the plan has it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from archc.plan.manifest import Manifest
from archc.plan.reader import ENCODER, PACKED, Plan
from archc.runtime.backends import open_backend
from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.engine import Engine
from archc.runtime.generation.result import Timing
from archc.runtime.serving.slots import Piece, Slots
from archc.runtime.state.encoder import EncoderRunner

_PIECE = 512  # tokens of a prompt in one call, as in a service


def start_tokens(manifest: Manifest) -> list[int]:
    """Return the decoder prompt of an encoder-decoder; id 0 for a plan without one, as from random weights."""
    return list(manifest.tokens.start) or [0]


def generate(engine: Engine, rows: Sequence[Sequence[int]], new: int) -> Timing:
    """Generate `new` greedy tokens for every row, and return the timing."""
    start = [start_tokens(engine.manifest)] * len(rows) if engine.manifest.encoder is not None else None
    return engine.run(rows, decoder_ids=start, max_new_tokens=new, ignore_eos=True, defaults=False).timing


class SlotRounds:
    """Rounds of a plan's packed graph with up to `count` sequences."""

    def __init__(self, path: Path, threads: int | None, count: int) -> None:
        self._plan = Plan(path)
        self._plan.check_content()
        manifest = self._manifest = self._plan.manifest
        self._encoder = None
        if manifest.encoder is not None:
            self._encoder = EncoderRunner(manifest.encoder, open_backend(self._plan, threads, graph=ENCODER))
        backend = open_backend(self._plan, threads, graph=PACKED)
        assert isinstance(backend, OrtBackend)
        self._slots = Slots(manifest, backend, count)

    def decode(self, rows: Sequence[Sequence[int]], new: int) -> float:
        """Return the seconds of `new` greedy steps of every row, after their prompts."""
        tokens = {slot: self._fill(slot, row) for slot, row in enumerate(rows)}
        begin = time.perf_counter()
        for _ in range(new):
            logits = self._slots.run({slot: [token] for slot, token in tokens.items()})
            tokens = {slot: int(np.argmax(values[-1])) for slot, values in logits.items()}
        return time.perf_counter() - begin

    def _fill(self, slot: int, row: Sequence[int]) -> int:
        """Read a prompt, or a source and the start tokens, and return the first new token."""
        prompt = list(row)
        source = self._encoder.run([prompt]) if self._encoder is not None else None
        if source is not None:
            prompt = start_tokens(self._manifest)
        self._slots.clear(slot, source)
        step = min(self._slots.longest_piece or len(prompt), _PIECE if self._manifest.prefix is None else len(prompt))
        for start in range(0, len(prompt), step):
            is_last = start + step >= len(prompt)
            logits = self._slots.run({}, Piece(slot, prompt[start : start + step], "last" if is_last else "none"))
        return int(np.argmax(logits[slot][-1]))

    def close(self) -> None:
        """Close the plan's file."""
        self._plan.close()


class EngineRounds:
    """Rounds of a plan without a packed graph: batches of an engine, whose sequences begin and end together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def decode(self, rows: Sequence[Sequence[int]], new: int) -> float:
        """Return the seconds of `new` greedy steps of every row, after their prompts."""
        return generate(self._engine, rows, new + 1)["decode_s"]

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()
