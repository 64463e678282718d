"""Prompts to compare on: generated ones, and how an encoder-decoder's answers begin."""

from __future__ import annotations

import numpy as np

from archc.plan import Manifest

_LENGTHS = (1, 7, 16)
_ANSWER_LENGTH = 8

Ids = list[int]


def generate_prompts(manifest: Manifest, new_tokens: int) -> list[Ids]:
    """Return random prompts of different lengths, so that their batch is ragged; without padding ids."""
    limits, pad = (manifest.encoder or manifest).limits, manifest.tokens.pad
    room = limits.max_seq_len - (new_tokens if manifest.topology == "decoder" else 0)
    random = np.random.default_rng(0)
    ids = np.array([token for token in range(limits.vocab_size) if token != pad] or [0])
    lengths = sorted({max(1, min(length, room)) for length in _LENGTHS})
    return [random.choice(ids, length).tolist() for length in lengths]


def generate_answers(manifest: Manifest, count: int) -> list[Ids]:
    """Return decoder ids for `count` sources of an encoder-decoder: start tokens and random ones; else nothing."""
    if manifest.topology != "encoder-decoder":
        return []
    random = np.random.default_rng(1)
    start = list(manifest.tokens.start or (0,))
    room = min(_ANSWER_LENGTH, max(0, manifest.limits.max_seq_len - len(start) - 1))
    ids = np.array([token for token in range(manifest.limits.vocab_size) if token != manifest.tokens.pad] or [0])
    return [[*start, *random.choice(ids, max(0, room - index)).tolist()] for index in range(count)]


def answer_start(manifest: Manifest, answers: list[Ids]) -> Ids | None:
    """Return the decoder prompt of an encoder-decoder, or None for other models."""
    return list(manifest.tokens.start) or answers[0][:1] if answers else None


def pair_texts(rows: list[Ids], answers: list[Ids], written: list[Ids] | None = None) -> list[tuple[Ids, Ids | None]]:
    """Return each prompt with its answer and the tokens written after it; a decoder's are appended to the prompt."""
    more = written or [[] for _ in rows]
    if answers:
        return [(row, [*answer, *new]) for row, answer, new in zip(rows, answers, more, strict=True)]
    return [([*row, *new], None) for row, new in zip(rows, more, strict=True)]
