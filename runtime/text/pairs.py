"""Texts and pairs of texts as rows of ids, for models that read whole texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archc.runtime.errors import PromptError
from archc.runtime.text.tokenizer import Tokenizer

Text = str | tuple[str, str]


class Encoded(NamedTuple):
    """One text or pair: ids, the type of each token, and the characters of each token; None for a special token.

    In a pair the characters are those of the second text, and tokens of the first have none.
    """

    ids: list[int]
    types: list[int]
    characters: list[tuple[int, int] | None]


def read_texts(inputs: object) -> list[Text] | None:
    """Return texts and pairs of texts, or None if `inputs` are ids. Raises PromptError for a mixture of both."""
    if isinstance(inputs, str):
        return [inputs]
    if not isinstance(inputs, Sequence) or not any(isinstance(item, str) or _has_text(item) for item in inputs):
        return None
    texts: list[Text] = []
    for index, item in enumerate(inputs):
        if isinstance(item, str):
            texts.append(item)
        elif _has_text(item) and len(item) == 2 and all(isinstance(text, str) for text in item):
            texts.append((item[0], item[1]))
        else:
            raise PromptError(f"text {index}: expected a text or a pair of two texts, got {str(item)[:80]}")
    return texts


def _has_text(item: object) -> bool:
    return isinstance(item, list | tuple) and any(isinstance(text, str) for text in item)


def encode_texts(tokenizer: Tokenizer, texts: Sequence[Text]) -> list[Encoded]:
    """Return the ids of texts and pairs, with the special tokens of the tokenizer's template."""
    return [Encoded(*tokenizer.encode_whole(*((text,) if isinstance(text, str) else text))) for text in texts]
