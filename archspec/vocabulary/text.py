"""Text: the tokens and formats of a family that the files of its checkpoints leave out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from archc.archspec.vocabulary.base import Section


class Whitespace(Section):
    """Tokens that stand for white space in a SentencePiece vocabulary."""

    newline: str | None = Field(None, description="Token of a line break.")
    tab: str | None = Field(None, description="Token of a tab.")
    spaces: str | None = Field(
        None, description="Token of 2 to 80 spaces in a row, with `{n}` for their number (ChatGLM-6B)."
    )


class Text(Section):
    """Tokenizer and chat format, used where the files of a checkpoint do not define them.

    A token is its text, or its id.
    """

    pattern: str | None = Field(
        None, description="Split pattern of a byte-level BPE, a regular expression: no token crosses its matches."
    )
    normalize: Literal["nfc"] | None = Field(None, description="Unicode normalization of the input.")
    after_vocabulary: tuple[str, ...] = Field(
        (), description="Special tokens whose ids follow the vocabulary of the tokenizer file, in this order."
    )
    whitespace: Whitespace = Field(default_factory=Whitespace)
    begin: tuple[int | str, ...] = Field((), description="Tokens in front of a prompt.")
    end: tuple[int | str, ...] = Field((), description="Tokens after a prompt.")
    user: int | str | None = Field(
        None, description="Token that begins a user's message: the variable `user_token` of the chat template."
    )
    assistant: int | str | None = Field(
        None, description="Token that begins an answer: the variable `assistant_token` of the chat template."
    )
    chat: str | None = Field(None, description="Chat template in Jinja, with the variables of transformers' templates.")
    stop: tuple[int | str, ...] = Field((), description="Tokens that end an answer, in addition to the config's.")
