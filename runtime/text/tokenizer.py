"""Text to ids and back, with the tokenizer files of a plan."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from archc.plan.reader import Plan
from archc.runtime.errors import PlanError, PromptError
from archc.runtime.generation.streaming import TextStream
from archc.runtime.text.chat import check_messages, pick_template, render

if TYPE_CHECKING:
    import tokenizers

FOLDER = "tokenizer/"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_RARE = range(0x2A000, 0x2A6D0)  # ideographs that nobody writes; a private character would not survive Python's repr


class Tokenizer:
    """A plan's tokenizer and chat template.  `from_plan` reads it; raises PlanError if its files are damaged."""

    def __init__(self, definition: bytes, config: Mapping[str, Any], template: str | None) -> None:
        import tokenizers

        self._lock = threading.Lock()  # parse_special is a setting of the shared tokenizer, not an argument of encode
        with _rust_errors(PlanError("tokenizer/tokenizer.json is damaged; build the plan again")):
            self._tokenizer: tokenizers.Tokenizer = tokenizers.Tokenizer.from_buffer(definition)
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            added = self._tokenizer.get_added_tokens_decoder().values()
            self._spelled = sorted((token.content for token in added if token.special), key=len, reverse=True)
        self._any_spelled = re.compile("|".join(map(re.escape, self._spelled))) if self._spelled else None
        self._config = config
        self.template = template

    @classmethod
    def from_plan(cls, plan: Plan) -> Tokenizer | None:
        """Return the tokenizer of `plan`, or None if it has none."""
        names = set(plan.names)
        if f"{FOLDER}tokenizer.json" not in names:
            return None

        def read_json(name: str) -> dict[str, Any]:
            if FOLDER + name not in names:
                return {}
            try:
                value = json.loads(plan.read(FOLDER + name))
            except (ValueError, RecursionError) as error:
                raise PlanError(f"{plan.path}: {FOLDER}{name} is not JSON: {error}; build the plan again") from None
            return value if isinstance(value, dict) else {}

        config = read_json("special_tokens_map.json") | read_json("tokenizer_config.json")
        template = pick_template(config.get("chat_template"))
        if f"{FOLDER}chat_template.jinja" in names:
            try:
                template = plan.read(f"{FOLDER}chat_template.jinja").decode()
            except UnicodeDecodeError as error:
                raise PlanError(f"{plan.path}: {FOLDER}chat_template.jinja is not UTF-8: {error}") from None
        return cls(plan.read(f"{FOLDER}tokenizer.json"), config, template)

    @property
    def vocab_size(self) -> int:
        """How many ids the tokenizer knows, which may be fewer than the model has."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """Return the ids of `text`, with the tokens that the model wants around it unless told otherwise.

        Special tokens spelled in the text are plain text, unless `parse_special`.  Raises PromptError if `text` is not
        Unicode text (a lone surrogate).
        """
        if not isinstance(text, str):
            raise PromptError(f"the prompt is {type(text).__name__}, not text")
        lone = next((at for at, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None) if _lone(text) else None
        if lone is not None:
            raise PromptError(
                f"the prompt has half of a surrogate pair, {text[lone]!r}, at character {lone}: it is not valid text"
            )
        with self._lock, _rust_errors(PromptError("the tokenizer cannot encode this text")):
            self._tokenizer.encode_special_tokens = not parse_special
            return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of `ids`; ids that the tokenizer does not know have none."""
        if any(not 0 <= token < 1 << 32 for token in ids):
            raise PromptError("an id is negative or past 32 bits, so it cannot be decoded")
        with _rust_errors(PromptError("the tokenizer cannot decode these ids")):
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def stream(self) -> TextStream:
        """Return a decoder for ids that come one by one."""
        return TextStream(self.decode)

    def chat(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any) -> str:
        """Return the chat template's text for `messages`, for reading; `chat_ids` is what a model should get."""
        return self._render(check_messages(messages), add_generation_prompt, variables)

    def chat_ids(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any
    ) -> list[int]:
        """Return the ids of `messages` in the chat template; special tokens that a message spells are plain text.

        Raises PromptError if the plan has no chat template, or the template fails.
        """
        plain = check_messages(messages)
        mark = self._unused_character(plain)
        first, *marked = self._render(
            [self._mark(message, mark) for message in plain], add_generation_prompt, variables
        ).split(mark)
        ids = self.encode(first, add_special_tokens=False, parse_special=True)
        for part in marked:
            spelled = next((token for token in self._spelled if part.startswith(token)), "")
            ids += self.encode(spelled, add_special_tokens=False)
            ids += self.encode(part[len(spelled) :], add_special_tokens=False, parse_special=True)
        return ids

    def _render(self, messages: list[dict[str, Any]], add_generation_prompt: bool, variables: Mapping[str, Any]) -> str:
        if self.template is None:
            raise PromptError("this plan has no chat template; give the prompt as plain text, without --chat")
        special = {name: _content(self._config.get(name)) for name in _SPECIAL if self._config.get(name)}
        given = {"messages": messages, "add_generation_prompt": add_generation_prompt, "tools": None, "documents": None}
        return render(self.template, {**special, **given, **variables})

    def _unused_character(self, messages: list[dict[str, Any]]) -> str:
        used = set(json.dumps(messages, ensure_ascii=False, default=str)) | set(self.template or "")
        return next(chr(code) for code in _RARE if chr(code) not in used)

    def _mark(self, value: Any, mark: str) -> Any:
        """Return `value` with `mark` before every special token that its strings spell."""
        if isinstance(value, str):
            return self._any_spelled.sub(lambda match: mark + match[0], value) if self._any_spelled else value
        if isinstance(value, Mapping):
            return {key: self._mark(item, mark) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._mark(item, mark) for item in value]
        return value


def _lone(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _content(token: Any) -> Any:
    """Return the text of a special token, which a config gives as a string or as an object with its content."""
    return token.get("content") if isinstance(token, dict) else token


@contextmanager
def _rust_errors(instead: PlanError | PromptError) -> Iterator[None]:
    """Raise `instead` for what the tokenizers library raises: plain Exceptions, and panics, which are none."""
    try:
        yield
    except Exception as error:
        raise type(instead)(f"{instead}: {str(error)[:300]}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise type(instead)(f"{instead}: {str(error)[:300]}") from None
