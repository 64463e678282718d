"""Options of generation: sampling, the conditions that end a row, and rules on the tokens of its output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np

from archc.runtime.errors import PromptError
from archc.runtime.structure.grammar import Grammar

MOST_PROPOSED = 64
"""The most tokens that are proposed ahead of one call."""
MOST_BEAMS = 1024
"""The most beams of a prompt: each is a row of every call, with a cache of its own."""

Words = Sequence[Sequence[int]]


@dataclass(frozen=True)
class SamplingOptions:
    """Options of `Engine.generate`, `run` and `stream`; None is the plan's default.

    The defaults are the checkpoint's generation settings, otherwise greedy decoding of 16 tokens. A row ends at the
    plan's end-of-sequence tokens (unless `ignore_eos`), at `stop_token_ids`, before a text of `stop`, after
    `max_new_tokens`, at `max_length` tokens with its prompt, or at the plan's maximum length. The repetition penalty
    applies to tokens of the prompt and of the output (Keskar et al. 2019, section 4.1); the presence and frequency
    penalties, of the OpenAI API, to tokens of the output: logit − count · frequency − [count > 0] · presence. Rows draw
    from independent streams of `seed`. Raises PromptError for a value outside of its range.
    """

    max_new_tokens: int | None = None  #: ≥ 1
    temperature: float | None = None  #: ≥ 0; 0 is greedy
    top_k: int | None = None  #: ≥ 0; 0 keeps all tokens
    top_p: float | None = None  #: nucleus sampling, in (0, 1]; 1 keeps all tokens
    min_p: float | None = None  #: in [0, 1], relative to the largest probability; 0 keeps all tokens
    repetition_penalty: float | None = None  #: > 0; 1 is none
    seed: int | None = None  #: ≥ 0; None draws a new one
    stop: str | Sequence[str] | None = None  #: stop strings, which are not part of the output
    stop_token_ids: Sequence[int] | None = None
    ignore_eos: bool = False
    typical_p: float | None = None  #: locally typical sampling, in (0, 1]; 1 keeps all tokens
    epsilon_cutoff: float | None = None  #: least probability of a token, in [0, 1]; 0 keeps all tokens
    eta_cutoff: float | None = None  #: eta sampling, in [0, 1]; 0 keeps all tokens
    encoder_repetition_penalty: float | None = None  #: > 0; above 1 prefers tokens of the source; 1 is none
    no_repeat_ngram_size: int | None = None  #: ≥ 0; no n-gram of this size occurs twice; 0 is none
    encoder_no_repeat_ngram_size: int | None = None  #: ≥ 0; no n-gram of the source occurs in the output; 0 is none
    min_new_tokens: int | None = None  #: ≥ 0; no end token before
    max_length: int | None = None  #: ≥ 1, with the prompt; without effect next to `max_new_tokens`
    min_length: int | None = None  #: ≥ 0, with the prompt
    bad_words_ids: Words | None = None  #: sequences of tokens that are not generated
    sequence_bias: Sequence[tuple[Sequence[int], float]] | None = None  #: sequences and biases of their last token
    suppress_tokens: Sequence[int] | None = None  #: tokens that are not generated
    begin_suppress_tokens: Sequence[int] | None = None  #: tokens that do not begin the output
    forced_bos_token_id: int | None = None  #: the token after a prompt of one token
    forced_eos_token_id: int | Sequence[int] | None = None  #: the last token of an output of the maximum length
    exponential_decay_length_penalty: tuple[int, float] | None = None  #: first new token, and factor of each later one
    logit_bias: Mapping[int, float] | None = None  #: numbers from −100 to 100 that are added to logits, by token
    presence_penalty: float | None = None  #: from −2 to 2; 0 is none
    frequency_penalty: float | None = None  #: from −2 to 2; 0 is none
    json_schema: str | Mapping[str, Any] | None = None  #: the output is JSON that is valid under this schema
    regex: str | None = None  #: the output as a whole is a match of this regular expression
    grammar: str | Grammar | None = None  #: the output is a sentence of this grammar, in Lark's notation
    renormalize_logits: bool | None = None  #: whether scores of a beam are log-probabilities again after the rules
    num_beams: int | None = None  #: from 1 to 1,024; 1 is no beam search
    length_penalty: float | None = None  #: exponent of the length that a beam's score is divided by
    early_stopping: bool | Literal["never"] | None = None  #: whether beam search ends with `num_beams` finished beams
    speculate: int | Literal["auto", "off"] | None = None  #: tokens proposed ahead; auto: as many as pay

    @classmethod
    def from_keywords(cls, keywords: Mapping[str, Any]) -> Self:
        """Return the options of keyword arguments; raise PromptError for an unknown one."""
        names = [field.name for field in fields(cls)]
        if unknown := sorted(keywords.keys() - set(names)):
            raise PromptError(f"unknown option {unknown[0]!r}; expected one of {', '.join(names)}")
        return cls(**keywords)

    def __post_init__(self) -> None:
        for name, (is_type, in_range, expected) in _EXPECTED.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not is_type(value):
                kind = "a number" if is_type is _is_number else expected
                raise PromptError(f"{name}: expected {kind}, got {value!r}")
            if not in_range(value):
                raise PromptError(f"{name}: expected {expected}, got {value}")
        if not _are_texts(self.stop):
            raise PromptError(f"stop: expected a non-empty string, or a list of them, got {self.stop!r}")

        self.structure  # noqa: B018 (raises for an invalid one)

    @property
    def structure(self) -> Grammar | None:
        """Return the grammar of the output; raise PromptError for two of them."""
        names = [name for name in ("json_schema", "regex", "grammar") if getattr(self, name) is not None]
        if len(names) > 1:
            raise PromptError(f"{names[0]}: contradicts {names[1]}; remove one")
        if self.json_schema is not None:
            return Grammar.from_schema(self.json_schema)
        if self.regex is not None:
            return Grammar("regex", self.regex)
        return Grammar("grammar", self.grammar) if isinstance(self.grammar, str) else self.grammar

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Return the stop strings as a tuple."""
        stop = self.stop or ()
        return (stop,) if isinstance(stop, str) else tuple(stop)


def merge_options(options: SamplingOptions | None, keywords: Mapping[str, object]) -> SamplingOptions:
    """Return the options of a call; raise PromptError for unknown keywords, or keywords next to `options`."""
    if options is not None and keywords:
        raise PromptError(f"{min(keywords)}: not supported together with `options`; pass one or the other")
    return options or SamplingOptions.from_keywords(keywords)


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool | np.bool_)


def _are_ids(value: object) -> bool:
    is_list = isinstance(value, np.ndarray | Sequence) and not isinstance(value, str | bytes)
    return (is_list or isinstance(value, set | frozenset)) and all(map(_is_integer, value))  # type: ignore[call-overload]


def _are_ids_or_one(value: object) -> bool:
    return _is_integer(value) or _are_ids(value)


def _are_words(value: object) -> bool:
    return isinstance(value, Sequence) and all(_are_ids(word) and len(word) for word in value)


def _are_biases(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(item, Sequence) and len(item) == 2 and _are_words([item[0]]) and _is_number(item[1])
        for item in value
    )


def _are_logit_biases(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_integer(k) and _is_number(v) for k, v in value.items())


def _is_decay(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and _is_integer(value[0]) and _is_number(value[1])


def _are_texts(value: object) -> bool:
    if value is None or isinstance(value, str):
        return True
    return isinstance(value, Sequence) and all(isinstance(text, str) and text for text in value)


def _always(_value: Any) -> bool:
    return True


def _between(low: float, high: float, open_low: bool = False) -> Callable[[Any], bool]:
    """Return a predicate of finite numbers from `low` to `high`, without `low` itself if `open_low`."""
    return lambda value: math.isfinite(value) and (low < value if open_low else low <= value) and value <= high


_INFINITY = float("inf")
_PENALTY = (_is_number, _between(-2, 2), "a number from -2 to 2 (0 is no penalty)")
_POSITIVE = _between(0, _INFINITY, open_low=True)
_COUNT = (_is_integer, _between(0, _INFINITY))
_LENGTH = (_is_integer, _between(1, _INFINITY), "an integer of at least 1")
_IDS = (_are_ids, _always, "a list of token ids")
_EXPECTED: Mapping[str, tuple[Callable[[object], bool], Callable[[Any], bool], str]] = {
    "temperature": (_is_number, _between(0, _INFINITY), "a number of at least 0 (0 is greedy)"),
    "top_p": (_is_number, _between(0, 1, open_low=True), "a number above 0 and at most 1 (1 keeps all tokens)"),
    "min_p": (_is_number, _between(0, 1), "a number between 0 and 1 (0 keeps all tokens)"),
    "typical_p": (_is_number, _between(0, 1, open_low=True), "a number above 0 and at most 1 (1 keeps all tokens)"),
    "epsilon_cutoff": (_is_number, _between(0, 1), "a number between 0 and 1 (0 keeps all tokens)"),
    "eta_cutoff": (_is_number, _between(0, 1), "a number between 0 and 1 (0 keeps all tokens)"),
    "repetition_penalty": (_is_number, _POSITIVE, "a number above 0 (1 is no penalty)"),
    "encoder_repetition_penalty": (_is_number, _POSITIVE, "a number above 0 (1 is no penalty)"),
    "length_penalty": (_is_number, math.isfinite, "a finite number (0 is no penalty)"),
    "max_new_tokens": _LENGTH,
    "max_length": _LENGTH,
    "num_beams": (_is_integer, _between(1, MOST_BEAMS), f"an integer from 1 to {MOST_BEAMS}"),
    "top_k": (*_COUNT, "an integer of at least 0 (0 keeps all tokens)"),
    "no_repeat_ngram_size": (*_COUNT, "an integer of at least 0 (0 is no rule)"),
    "encoder_no_repeat_ngram_size": (*_COUNT, "an integer of at least 0 (0 is no rule)"),
    "min_new_tokens": (*_COUNT, "an integer of at least 0"),
    "min_length": (*_COUNT, "an integer of at least 0"),
    "seed": (*_COUNT, "an integer of at least 0, or None"),
    "forced_bos_token_id": (*_COUNT, "a token id"),
    "stop_token_ids": _IDS,
    "suppress_tokens": _IDS,
    "begin_suppress_tokens": _IDS,
    "forced_eos_token_id": (_are_ids_or_one, _always, "a token id, or a list of them"),
    "bad_words_ids": (_are_words, _always, "a list of non-empty lists of token ids"),
    "sequence_bias": (
        _are_biases,
        lambda value: all(bias < _INFINITY for _, bias in value),  # not for NaN either; -inf excludes a sequence
        "a list of pairs of token ids and a number below infinity",
    ),
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "logit_bias": (
        _are_logit_biases,
        lambda value: all(map(_between(-100, 100), value.values())),
        "a mapping of token ids to numbers from -100 to 100",
    ),
    "exponential_decay_length_penalty": (
        _is_decay,
        lambda value: value[0] >= 0 and _POSITIVE(value[1]),
        "a pair of an integer of at least 0 and a number above 0",
    ),
    "renormalize_logits": (_is_boolean, _always, "True or False"),
    "speculate": (
        lambda value: value in ("auto", "off") or _is_integer(value),
        lambda value: isinstance(value, str) or 0 <= value <= MOST_PROPOSED,
        f"'auto', 'off' or a number of tokens up to {MOST_PROPOSED}",
    ),
    "early_stopping": (lambda value: _is_boolean(value) or value == "never", _always, "True, False or 'never'"),
}
