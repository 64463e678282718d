"""Settings of text that a checkpoint's files may leave out: split pattern, added tokens, chat template, stop tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TextSettings:
    """A family's settings of text, used where the files of a checkpoint leave them out.

    `pattern` is the split pattern of a byte-level BPE, a regular expression; `after_vocabulary`, special tokens whose
    ids follow the vocabulary; `begin` and `end`, tokens around each prompt; `chat`, a Jinja template; `stop`, tokens
    that end an answer.
    """

    pattern: str | None = None
    normalize: Literal["nfc"] | None = None
    after_vocabulary: tuple[str, ...] = ()
    begin: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    chat: str | None = None
    stop: tuple[str, ...] = ()
