"""Log-probabilities of tokens, in the formats of the two endpoints."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from archc.runtime.serving.job import Token
from archc.runtime.serving.logprobs import Scored, ScoredToken
from archc.runtime.text.tokenizer import Tokenizer
from archc.serve.answers import ChatLogprobs, TextLogprobs, TokenLogprob, TopLogprob

_PART = "\ufffd"  # the text of a token that is a part of a character
Texts = Callable[[int], str]


def texts_of(tokenizer: Tokenizer | None) -> Texts:
    """Return a function from ids to their texts; without a tokenizer these are the numbers."""
    if tokenizer is None:
        return str
    return lambda token: tokenizer.decode([token], skip_special_tokens=False)


def chat_logprobs(tokens: Sequence[Token], texts: Texts) -> ChatLogprobs:
    """Return the log-probabilities of a chat answer's tokens."""
    content = [
        TokenLogprob(
            text := texts(token.id),
            _finite(token.logprob),
            _bytes(text),
            [TopLogprob(texts(top.id), _finite(top.logprob), _bytes(texts(top.id))) for top in token.top],
        )
        for token in tokens
    ]
    return ChatLogprobs(content)


def text_logprobs(tokens: Sequence[Token], texts: Texts, offset: int) -> TextLogprobs:
    """Return the log-probabilities of a completion's tokens, whose text begins at the character `offset`."""
    result = TextLogprobs([], [], [], [])
    for token in tokens:
        result.tokens.append(texts(token.id))
        result.token_logprobs.append(_finite(token.logprob))
        result.top_logprobs.append(_top(token.top, texts))
        result.text_offset.append(offset)
        offset += len(token.text)
    return result


def prompt_logprobs(
    ids: Sequence[int], scores: Sequence[ScoredToken], texts: Texts, pieces: Sequence[str]
) -> TextLogprobs:
    """Return the log-probabilities of a prompt's tokens; `pieces` are the parts of its text that each completes."""
    result = TextLogprobs([texts(token) for token in ids], [None], [None], [])
    for token in scores:
        result.token_logprobs.append(_finite(token.logprob))
        result.top_logprobs.append(_top(token.top, texts))
    result.text_offset = list(itertools.accumulate(map(len, pieces), initial=0))[: len(ids)]
    return result


def join_logprobs(first: TextLogprobs, second: TextLogprobs) -> TextLogprobs:
    """Return the log-probabilities of a text and of its continuation."""
    return TextLogprobs(
        first.tokens + second.tokens,
        first.token_logprobs + second.token_logprobs,
        first.top_logprobs + second.top_logprobs,
        first.text_offset + second.text_offset,
    )


def _top(scored: Sequence[Scored], texts: Texts) -> dict[str, float]:
    """Return the likely tokens by text; of those with the same text, such as parts of characters, the likeliest."""
    return {texts(top.id): _finite(top.logprob) for top in reversed(scored)}


def _finite(value: float | None) -> float:
    """Return a log-probability that JSON can express."""
    assert value is not None
    return max(value, -9999.0)


def _bytes(text: str) -> list[int] | None:
    return None if _PART in text else list(text.encode())
