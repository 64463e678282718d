"""Options of generation: sampling, and the conditions that end a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from archc.runtime.errors import PromptError


@dataclass(frozen=True)
class SamplingOptions:
    """Options of `Engine.generate`, `run` and `stream`; the default is greedy decoding of 16 tokens.

    A row ends at the plan's end-of-sequence tokens (unless `ignore_eos`), at `stop_token_ids`, before a text of
    `stop`, after `max_new_tokens`, or at the plan's maximum length. The repetition penalty applies to tokens of the
    prompt and of the output (Keskar et al. 2019, section 4.1). Rows draw from independent streams of `seed`.
    Raises PromptError for a value outside of its range.
    """

    max_new_tokens: int = 16  #: ≥ 1
    temperature: float = 0.0  #: ≥ 0; 0 is greedy
    top_k: int = 0  #: ≥ 0; 0 keeps all tokens
    top_p: float = 1.0  #: nucleus sampling, in (0, 1]; 1 keeps all tokens
    min_p: float = 0.0  #: in [0, 1], relative to the largest probability; 0 keeps all tokens
    repetition_penalty: float = 1.0  #: > 0; 1 is none
    seed: int | None = None  #: ≥ 0; None draws a new one
    stop: str | Sequence[str] = ()  #: stop strings, which are not part of the output
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, object]) -> Self:
        """Return the options of keyword arguments; raise PromptError for an unknown one."""
        names = [field.name for field in fields(cls)]
        if unknown := sorted(keywords.keys() - set(names)):
            raise PromptError(f"unknown option {unknown[0]!r}; expected one of {', '.join(names)}")
        return cls(**keywords)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise PromptError(f"{name}: expected a number, got {value!r}")
        ranges = (
            ("temperature", self.temperature >= 0, "a number of at least 0 (0 is greedy)"),
            ("top_p", 0 < self.top_p <= 1, "a number above 0 and at most 1 (1 keeps all tokens)"),
            ("min_p", 0 <= self.min_p <= 1, "a number between 0 and 1 (0 keeps all tokens)"),
            ("repetition_penalty", self.repetition_penalty > 0, "a number above 0 (1 is no penalty)"),
        )
        for name, in_range, expected in ranges:
            if not in_range or not math.isfinite(getattr(self, name)):
                raise PromptError(f"{name}: expected {expected}, got {getattr(self, name)}")
        if not _is_integer(self.max_new_tokens) or self.max_new_tokens < 1:
            raise PromptError(f"max_new_tokens: expected an integer of at least 1, got {self.max_new_tokens!r}")
        if not _is_integer(self.top_k) or self.top_k < 0:
            raise PromptError(f"top_k: expected an integer of at least 0 (0 keeps all tokens), got {self.top_k!r}")
        if self.seed is not None and (not _is_integer(self.seed) or self.seed < 0):
            raise PromptError(f"seed: expected an integer of at least 0, or None, got {self.seed!r}")
        if not all(isinstance(text, str) and text for text in self.stop_strings):
            raise PromptError(f"stop: expected a non-empty string, or a list of them, got {self.stop!r}")
        if not all(_is_integer(token) for token in self.stop_token_ids):
            raise PromptError(f"stop_token_ids: expected a list of token ids, got {self.stop_token_ids!r}")

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Return the stop strings as a tuple."""
        stop = self.stop or ()
        return (stop,) if isinstance(stop, str) else tuple(stop)


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
