"""Perplexity of a text, by windows that overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass

from archc.evaluation.scores import score
from archc.runtime.engine import Engine
from archc.runtime.errors import PromptError


@dataclass(frozen=True)
class Perplexity:
    """Results for a text of `tokens` scored tokens and `bytes` of UTF-8.

    `perplexity` is exp(−Σ ln p / tokens), `bits_per_byte` is −Σ log₂ p / bytes.
    """

    perplexity: float
    bits_per_byte: float
    tokens: int
    bytes: int
    window: int
    stride: int


def perplexity(engine: Engine, text: str, window: int | None = None, stride: int | None = None) -> Perplexity:
    """Return the perplexity of a text.

    A window has up to `window` tokens, by default the plan's maximum; each begins `stride` tokens after the last one,
    by default half a window, and scores the tokens that no earlier window has scored. The first token has no
    context: it is not scored, nor are its bytes, unless the tokenizer puts a special token before it.
    Raises PromptError for a plan that is no decoder, without a tokenizer, or for a text of fewer than two tokens.
    """
    manifest = engine.manifest
    if manifest.topology != "decoder":
        raise PromptError(
            f"{manifest.family}: perplexity is defined for decoders, not for topology {manifest.topology}"
        )
    if engine.tokenizer is None:
        raise PromptError("the plan has no tokenizer, so text is not supported; build it from a folder with one")
    limit = manifest.limits.max_seq_len
    window = min(window or limit, limit)
    stride = stride or max(window // 2, 1)
    if window < 2 or not 1 <= stride < window:
        raise PromptError(f"expected a window of at least 2 tokens and a smaller stride, got {window} and {stride}")
    ids = engine.tokenizer.encode(text)
    if len(ids) < 2:
        raise PromptError(f"text: expected at least 2 tokens, got {len(ids)}")
    total, tokens, done = 0.0, 0, 1
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        first = max(done, begin + 1)  # the first token of a window has no context in it
        if first < end:
            ((values, _),) = score(engine, [ids[begin:end]], [end - first])
            total -= float(values.sum())
            tokens += end - first
        done = end
        if end == len(ids):
            break
    size = len(text.encode()) - len(engine.tokenizer.decode(ids[:1]).encode())
    return Perplexity(math.exp(total / tokens), total / math.log(2) / max(size, 1), tokens, size, window, stride)
