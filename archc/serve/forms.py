"""The forms of answers: completions and chat completions, whole and in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import UNSET, UnsetType

from archc.runtime.serving.job import Finished, PromptScores, Token
from archc.runtime.structure.output_parser import OutputParser
from archc.serve.answers import ChatChoice, ChatDelta, Choice, Message, TextChoice, TextLogprobs
from archc.serve.chat import Parts, joined
from archc.serve.logprobs import Texts, chat_logprobs, join_logprobs, prompt_logprobs, text_logprobs

_REASONS = {"eos": "stop", "stop": "stop", "length": "length"}


def reason_of(finished: Finished) -> str:
    """Return the API's word for the end of an answer."""
    return _REASONS[finished.reason]


class Form(Protocol):
    """Makes the choices of an answer. `kind` and `part_kind` are values of `object`, `prefix` begins ids."""

    prefix: str
    kind: str
    part_kind: str

    def begin(self, index: int) -> Choice | None:
        """Return what a stream begins with."""
        ...

    def prompt(self, index: int, scores: PromptScores) -> Choice | None:
        """Return the part of a stream for the log-probabilities of the prompt, which `whole` has as well."""
        ...

    def part(self, index: int, token: Token) -> Choice | None:
        """Return the part of a stream for a token; None if there is nothing to report."""
        ...

    def end(self, index: int, reason: str) -> Choice:
        """Return the last part of a stream."""
        ...

    def whole(self, index: int, tokens: Sequence[Token], finished: Finished) -> Choice:
        """Return a whole answer."""
        ...


@dataclass(frozen=True)
class Echo:
    """A prompt that an answer begins with: its text, its ids, and the parts of its text that each of them completes."""

    text: str
    ids: Sequence[int]
    pieces: Sequence[str]


@dataclass
class TextForm:
    """Completions. `echoes` are the prompts to repeat, by choice."""

    texts: Texts
    has_logprobs: bool
    has_ids: bool
    echoes: Sequence[Echo] = ()
    prefix: str = "cmpl-"
    kind: str = "text_completion"
    part_kind: str = "text_completion"
    _offsets: dict[int, int] = field(default_factory=dict)
    _scores: dict[int, TextLogprobs] = field(default_factory=dict)

    def begin(self, index: int) -> Choice | None:
        """Return what a stream begins with; a prompt with log-probabilities follows later."""
        return TextChoice(index, self._before(index)) if self.echoes and not self.has_logprobs else None

    def prompt(self, index: int, scores: PromptScores) -> Choice | None:
        """Return the part of a stream for the log-probabilities of the prompt, which `whole` has as well."""
        echo = self.echoes[index]
        self._scores[index] = prompt_logprobs(echo.ids, scores.tokens, self.texts, echo.pieces)
        return TextChoice(index, echo.text, None, self._scores[index])

    def part(self, index: int, token: Token) -> Choice | None:
        """Return the part of a stream for a token; None if there is nothing to report."""
        if not (token.text or self.has_logprobs or (self.has_ids and token.is_output)):
            return None
        offset = self._offsets.setdefault(index, len(self._before(index)))
        self._offsets[index] = offset + len(token.text)
        shown = [token] if token.is_output else []
        logprobs = text_logprobs([token], self.texts, offset) if self.has_logprobs else None
        return TextChoice(index, token.text, None, logprobs, _ids(shown, self.has_ids))

    def end(self, index: int, reason: str) -> Choice:
        """Return the last part of a stream."""
        return TextChoice(index, "", reason)

    def whole(self, index: int, tokens: Sequence[Token], finished: Finished) -> Choice:
        """Return a whole answer."""
        before = self._before(index)
        kept = _kept(tokens, finished)
        # Clients that score a prompt leave out the last entry, which is the one generated token, a stop token too.
        stop = [token for token in tokens[-1:] if not token.is_output]
        logprobs = text_logprobs([*kept, *stop], self.texts, len(before)) if self.has_logprobs else None
        if logprobs is not None and index in self._scores:
            logprobs = join_logprobs(self._scores[index], logprobs)
        return TextChoice(index, before + _text(tokens), reason_of(finished), logprobs, _ids(kept, self.has_ids))

    def _before(self, index: int) -> str:
        return self.echoes[index].text if self.echoes else ""


@dataclass
class ChatForm:
    """Chat completions."""

    texts: Texts
    has_logprobs: bool
    has_ids: bool
    open_parser: Callable[[int], OutputParser | None] = lambda index: None
    prefix: str = "chatcmpl-"
    kind: str = "chat.completion"
    part_kind: str = "chat.completion.chunk"
    _parts: dict[int, Parts] = field(default_factory=dict)

    def _of(self, index: int) -> Parts:
        if index not in self._parts:
            self._parts[index] = Parts(self.open_parser(index))
        return self._parts[index]

    def begin(self, index: int) -> Choice | None:
        """Return what a stream begins with."""
        return ChatDelta(index, Message("assistant", ""))

    def prompt(self, index: int, scores: PromptScores) -> Choice | None:
        """Return None: chats have no log-probabilities of the prompt."""
        return None

    def part(self, index: int, token: Token) -> Choice | None:
        """Return the part of a stream for a token; None if there is nothing to report."""
        has_facts = (self.has_ids or self.has_logprobs) and token.is_output
        parts = self._of(index).push(token.text) if token.text else []
        if not (parts or has_facts):
            return None
        shown = [token] if token.is_output else []
        logprobs = chat_logprobs(shown, self.texts) if self.has_logprobs else None
        return ChatDelta(index, _delta(parts), None, logprobs, _ids(shown, self.has_ids))

    def end(self, index: int, reason: str) -> Choice:
        """Return the last part of a stream."""
        parts = self._of(index)
        return ChatDelta(index, _delta(parts.finish()), _reason(reason, parts))

    def whole(self, index: int, tokens: Sequence[Token], finished: Finished) -> Choice:
        """Return a whole answer."""
        kept = _kept(tokens, finished)
        logprobs = chat_logprobs(kept, self.texts) if self.has_logprobs else None
        parts = self._of(index)
        message = joined([*parts.push(_text(tokens)), *parts.finish()])
        reason = _reason(reason_of(finished), parts)
        return ChatChoice(index, message, reason, logprobs, _ids(kept, self.has_ids))


def _delta(parts: Sequence[Message]) -> Message:
    """Return the parts of one event as one."""
    if len(parts) == 1:
        return parts[0]
    whole = joined(parts)
    return Message(UNSET, whole.content or UNSET, whole.reasoning_content, whole.tool_calls)


def _reason(reason: str, parts: Parts) -> str:
    return "tool_calls" if parts.calls and reason == "stop" else reason


def _kept(tokens: Sequence[Token], finished: Finished) -> list[Token]:
    """Return the tokens of the output: a stop string has removed the last ones."""
    return [token for token in tokens if token.is_output][: len(finished.ids)]


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens)


def _ids(tokens: Sequence[Token], has_ids: bool) -> list[int] | UnsetType:
    return [token.id for token in tokens] if has_ids else UNSET
