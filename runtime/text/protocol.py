"""Interface of a tokenizer engine: the algorithm behind `Tokenizer`, chosen by the files of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class TokenizerEngine(Protocol):
    """Encoding and decoding with one vocabulary; the text has no lone surrogates and ids are below 2^32."""

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""

    @property
    def special(self) -> Mapping[str, int]:
        """Return the id of each special token by its text."""

    def encode(self, text: str, add_special_tokens: bool, parse_special: bool) -> list[int]:
        """Return the ids of `text`; special tokens in it are plain text unless `parse_special`."""

    def encode_marked(self, text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
        """Return the ids of `text` with special tokens at exactly the character ranges `spans`, in their order."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Return the text of `ids`; ids without a token have none, and invalid UTF-8 becomes U+FFFD."""
