"""Text: the tokens and formats of a family that the files of its checkpoints leave out."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from archc.archspec.vocabulary.base import Section

_RANGE = re.compile(r"\{(\d{1,4})\.\.(\d{1,4})\}")


class Whitespace(Section):
    """Tokens that stand for white space in a SentencePiece vocabulary."""

    newline: str | None = Field(default=None, description="Token of a line break.")
    tab: str | None = Field(default=None, description="Token of a tab.")
    spaces: str | None = Field(
        default=None, description="Token of 2 to 80 spaces in a row, with `{n}` for their number (ChatGLM-6B)."
    )


class Calls(Section):
    """Tool calls in an answer: `begin`, a call, `end`.

    A call is a JSON object, or a list of them, with the keys `name` and `arguments`; with a `separator`, it may also be
    a name, the separator and the JSON of the arguments.
    """

    sign: str = Field(
        min_length=1, description="Text of the chat templates with this format; other templates have no tool calls."
    )
    begin: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="Texts that begin a call, or a list of calls."
    )
    end: str = Field(default="", description="Text after a call. none: the end of the answer.")
    name: str = Field(default="name", min_length=1, description="Key of the tool's name.")
    arguments: str = Field(default="arguments", min_length=1, description="Key of the arguments.")
    separator: str = Field(default="", description="Text between a name and its arguments, outside of JSON.")
    call_id: str = Field(
        default="", description="Text between a name and the id of a call, which may stand in front of the separator."
    )
    bare: bool = Field(default=False, description="An answer that is a call from its first character needs no `begin`.")


class Reasoning(Section):
    """Reasoning in an answer: text from `begin` to `end`."""

    begin: str = Field(min_length=1, description="Text that begins reasoning.")
    end: str = Field(
        min_length=1, description="Text that ends it. The chat templates with this format have it as well."
    )


class Text(Section):
    """Tokenizer and chat format, used where the files of a checkpoint do not define them.

    A token is its text, or its id.
    """

    pattern: str | None = Field(
        default=None,
        description="Split pattern of a byte-level BPE, a regular expression: no token crosses its matches.",
    )
    normalize: Literal["nfc"] | None = Field(default=None, description="Unicode normalization of the input.")
    after_vocabulary: tuple[str, ...] = Field(
        default=(),
        description="Special tokens whose ids follow the vocabulary of the tokenizer file, in this order; `{0..9}` in "
        "one stands for these numbers.",
    )
    whitespace: Whitespace = Field(default_factory=Whitespace)
    begin: tuple[int | str, ...] | None = Field(
        default=None, description="Tokens in front of a prompt. none: by the tokenizer file, unless there is an `end`."
    )
    end: tuple[int | str, ...] | None = Field(
        default=None, description="Tokens after a prompt. none: by the tokenizer file, unless there is a `begin`."
    )
    user: int | str | None = Field(
        default=None, description="Token that begins a user's message: the variable `user_token` of the chat template."
    )
    assistant: int | str | None = Field(
        default=None, description="Token that begins an answer: the variable `assistant_token` of the chat template."
    )
    chat: str | None = Field(
        default=None, description="Chat template in Jinja, with the variables of transformers' templates."
    )
    stop: tuple[int | str, ...] = Field(
        default=(), description="Tokens that end an answer, in addition to the config's."
    )
    stop_text: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="Texts that end an answer in a chat with the template `chat`."
    )

    calls: Calls | None = Field(default=None, description="Format of tool calls.")
    reasoning: Reasoning | None = Field(default=None, description="Format of reasoning.")
    around: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="Texts around the parts of an answer, which are no part of its content."
    )

    @property
    def tokens_after_vocabulary(self) -> tuple[str, ...]:
        """Return `after_vocabulary` with ranges expanded."""
        tokens: list[str] = []
        for token in self.after_vocabulary:
            bounds = _RANGE.search(token)
            numbers = range(int(bounds[1]), int(bounds[2]) + 1) if bounds is not None else ()
            tokens += [_RANGE.sub(str(number), token, count=1) for number in numbers] if bounds is not None else [token]
        return tuple(tokens)
