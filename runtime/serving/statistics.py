"""Figures of a service, for `/metrics` and tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Statistics:
    """Counts since the start, and the state at present."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    finished: int = 0
    canceled: int = 0
    failed: int = 0
    refused: int = 0
    calls: int = 0
    call_s: float = 0.0
    proposed_tokens: int = 0
    accepted_tokens: int = 0
    active: int = 0
    waiting: int = 0
