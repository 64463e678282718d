"""Rules on the next token's logits: penalties, biases, and tokens that are forbidden or forced.

Each rule is a function of the tokens so far and of the logits. Their order is that of transformers' logits processors;
those of the OpenAI API come first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from archc.runtime.generation.settings import Settings

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Rule = Callable[[Ints, Floats], None]
"""Changes the logits, float32 [vocab], in place; the tokens so far, int64 [seq], include the prompt."""


class LogitsProcessor:
    """The rules of one row. `changes` is false if there are none.

    `prompt` is the number of prompt tokens, `max_length` the maximum tokens with the prompt, `ends` the tokens that end
    the row, `source` the ids of an encoder-decoder's source.
    """

    def __init__(
        self,
        settings: Settings,
        prompt: int = 0,
        max_length: int = 2**31,
        ends: Collection[int] = (),
        source: Sequence[int] = (),
    ) -> None:
        self._rules = list(_rules(settings, prompt, max_length, np.asarray(sorted(ends), np.int64), source))

    @property
    def changes(self) -> bool:
        """Return whether any rule may change the logits."""
        return bool(self._rules)

    def __call__(self, tokens: Sequence[int], logits: Floats) -> Floats:
        """Return the logits, float32 [vocab], after all rules."""
        if not self._rules:
            return logits
        history, logits = np.asarray(tokens, np.int64), logits.copy()
        for rule in self._rules:
            rule(history, logits)
        return logits


def _rules(settings: Settings, prompt: int, max_length: int, ends: Ints, source: Sequence[int]) -> list[Rule]:
    rules: list[Rule] = []
    if settings.presence_penalty or settings.frequency_penalty:
        rules.append(_output_penalty(settings.presence_penalty, settings.frequency_penalty, prompt))
    if settings.logit_bias:
        tokens, biases = zip(*settings.logit_bias, strict=True)
        rules.append(_add(np.array(tokens, np.int64), np.array(biases, np.float32)))
    if settings.sequence_bias:
        rules += [_bias(word, value) for word, value in settings.sequence_bias]
    if settings.encoder_repetition_penalty != 1 and len(source):
        rules.append(_penalty(1 / settings.encoder_repetition_penalty, np.unique(np.asarray(source, np.int64))))
    if settings.repetition_penalty != 1:
        rules.append(_penalty(settings.repetition_penalty))
    if size := settings.no_repeat_ngram_size:
        rules.append(lambda tokens, logits: _forbid_ngrams(tokens, tokens, size, logits))
    if source_size := settings.encoder_no_repeat_ngram_size:
        ids = np.asarray(source, np.int64)
        rules.append(lambda tokens, logits: _forbid_ngrams(ids, tokens, source_size, logits))
    for word in settings.bad_words_ids:
        if len(word) > 1 or word[0] not in ends:
            rules.append(_bias(word, -np.inf))
    least = max(settings.min_length, prompt + settings.min_new_tokens if settings.min_new_tokens else 0)
    if least and len(ends):
        rules.append(_forbid(ends, lambda length: length < least))
    if settings.forced_bos_token_id is not None:
        rules.append(_force(np.array([settings.forced_bos_token_id]), 1))
    if settings.forced_eos_token_id:
        rules.append(_force(np.array(settings.forced_eos_token_id), max_length - 1))
    if settings.exponential_decay_length_penalty is not None and len(ends):
        begin, factor = settings.exponential_decay_length_penalty
        rules.append(_prefer(ends, prompt + begin, factor))
    if settings.suppress_tokens:
        rules.append(_forbid(np.array(settings.suppress_tokens), lambda length: True))
    if settings.begin_suppress_tokens:
        first = prompt + (prompt == 1 and settings.forced_bos_token_id is not None)
        rules.append(_forbid(np.array(settings.begin_suppress_tokens), lambda length: length == first))
    return rules


def _penalty(penalty: float, seen: Ints | None = None) -> Rule:
    """Return the repetition penalty of Keskar et al. 2019, section 4.1, on `seen`, or on the tokens so far."""

    def rule(tokens: Ints, logits: Floats) -> None:
        used = np.unique(tokens) if seen is None else seen
        old = logits[used]
        logits[used] = np.where(old < 0, old * np.float32(penalty), old / np.float32(penalty))

    return rule


def _output_penalty(presence: float, frequency: float, prompt: int) -> Rule:
    """Return the rule logit − count · frequency − [count > 0] · presence on tokens after the prompt (OpenAI API)."""

    def rule(tokens: Ints, logits: Floats) -> None:
        used, counts = np.unique(tokens[prompt:], return_counts=True)
        logits[used] -= (counts * frequency + presence).astype(np.float32)

    return rule


def _add(ids: Ints, values: Floats) -> Rule:
    """Return a rule that adds `values`, float32 [n], to the logits of the different tokens `ids`, int64 [n]."""

    def rule(_tokens: Ints, logits: Floats) -> None:
        logits[ids] += values

    return rule


def _bias(word: Sequence[int], value: float) -> Rule:
    """Return a rule that adds `value` to a word's last token where the tokens before are the last so far."""
    *before, last = (int(token) for token in word)

    def rule(tokens: Ints, logits: Floats) -> None:
        if len(before) <= len(tokens) and tokens[len(tokens) - len(before) :].tolist() == before:
            logits[last] += np.float32(value)

    return rule


def _forbid_ngrams(text: Ints, tokens: Ints, size: int, logits: Floats) -> None:
    """Forbid each token that would complete an n-gram of `text`."""
    if len(text) < size or len(tokens) < size - 1:
        return
    windows = np.lib.stride_tricks.sliding_window_view(text, size)
    matches = (windows[:, :-1] == tokens[len(tokens) + 1 - size :]).all(axis=1)
    logits[windows[matches, -1]] = -np.inf


def _forbid(ids: Ints, at: Callable[[int], bool]) -> Rule:
    """Return a rule that forbids `ids` after numbers of tokens for which `at` is true."""

    def rule(tokens: Ints, logits: Floats) -> None:
        if at(len(tokens)):
            logits[ids] = -np.inf

    return rule


def _force(ids: Ints, length: int) -> Rule:
    """Return a rule that leaves only `ids` after that number of tokens."""

    def rule(tokens: Ints, logits: Floats) -> None:
        if len(tokens) == length:
            logits[:] = -np.inf
            logits[ids] = 0

    return rule


def _prefer(ids: Ints, begin: int, factor: float) -> Rule:
    """Return a rule that raises the logits of `ids` by |logit| · (factor ^ n − 1), n tokens past `begin`."""

    def rule(tokens: Ints, logits: Floats) -> None:
        past = len(tokens) - begin
        if past > 0:
            old = logits[ids]
            added = np.where(np.isfinite(old), np.abs(old) * np.float32(factor**past - 1), np.float32(0))
            logits[ids] = old + added

    return rule
