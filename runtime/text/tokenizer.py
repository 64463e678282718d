"""The tokenizer of a plan: text to token ids and back, and chat templates."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from archc.plan.reader import Plan
from archc.runtime.errors import PlanError, PromptError
from archc.runtime.text.chat import check_messages, pick_template, render
from archc.runtime.text.detokenizer import Detokenizer

if TYPE_CHECKING:
    import tokenizers

FOLDER = "tokenizer/"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_RARE = range(0x2A000, 0x2A6D0)  # unused ideographs; Python's repr would escape a private-use character


class Tokenizer:
    """A plan's tokenizer and chat template; raises PlanError if its files are damaged."""

    def __init__(self, definition: bytes, config: Mapping[str, Any], template: str | None) -> None:
        import tokenizers

        self._lock = threading.Lock()  # encode_special_tokens is an attribute, not an argument of encode
        with _rust_errors(PlanError, "tokenizer/tokenizer.json is damaged", "build the plan again"):
            self._tokenizer: tokenizers.Tokenizer = tokenizers.Tokenizer.from_buffer(definition)
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            added = self._tokenizer.get_added_tokens_decoder().values()
            self._special = sorted((token.content for token in added if token.special), key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, self._special))) if self._special else None
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
                raise PlanError(
                    f"{plan.path}: {FOLDER}chat_template.jinja is not UTF-8: {error}; build the plan again"
                ) from None
        return cls(plan.read(f"{FOLDER}tokenizer.json"), config, template)

    @property
    def vocab_size(self) -> int:
        """Return the number of ids of the tokenizer, which may be smaller than that of the model."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """Return the ids of `text`, with the special tokens of the tokenizer's template if `add_special_tokens`.

        Special tokens in the text are plain text unless `parse_special`. Raises PromptError for a lone surrogate.
        """
        if not isinstance(text, str):
            raise PromptError(f"prompt: expected text, got {type(text).__name__}")
        lone = next((at for at, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None) if _lone(text) else None
        if lone is not None:
            raise PromptError(f"prompt, character {lone}: lone surrogate {text[lone]!r}; pass valid Unicode text")
        with self._lock, _rust_errors(PromptError, "the tokenizer cannot encode the text", "change the prompt"):
            self._tokenizer.encode_special_tokens = not parse_special
            return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of `ids`; ids without a token have none."""
        if any(not 0 <= token < 1 << 32 for token in ids):
            raise PromptError("ids: expected numbers from 0 to 2^32 - 1, got a negative or larger one")
        with _rust_errors(PromptError, "the tokenizer cannot decode the ids", "check their values"):
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def stream(self) -> Detokenizer:
        """Return an incremental detokenizer."""
        return Detokenizer(self.decode)

    def chat(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any) -> str:
        """Return the chat template's text for `messages`; use `chat_ids` for the input of a model."""
        return self._render(check_messages(messages), add_generation_prompt, variables)

    def chat_ids(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any
    ) -> list[int]:
        """Return the ids of the chat template's text for `messages`; special tokens in a message are plain text.

        Raises PromptError if the plan has no chat template, or the template fails.
        """
        checked = check_messages(messages)
        mark = self._unused_character(checked)
        first, *marked = self._render(
            [self._mark(message, mark) for message in checked], add_generation_prompt, variables
        ).split(mark)
        ids = self.encode(first, add_special_tokens=False, parse_special=True)
        for part in marked:
            token = next((token for token in self._special if part.startswith(token)), "")
            ids += self.encode(token, add_special_tokens=False)
            ids += self.encode(part[len(token) :], add_special_tokens=False, parse_special=True)
        return ids

    def _render(self, messages: list[dict[str, Any]], add_generation_prompt: bool, variables: Mapping[str, Any]) -> str:
        if self.template is None:
            raise PromptError("the plan has no chat template; pass the prompt as plain text, without --chat")
        special = {name: _content(self._config.get(name)) for name in _SPECIAL if self._config.get(name)}
        inputs = {
            "messages": messages,
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
            "documents": None,
        }
        return render(self.template, {**special, **inputs, **variables})

    def _unused_character(self, messages: list[dict[str, Any]]) -> str:
        used = set(json.dumps(messages, ensure_ascii=False, default=str)) | set(self.template or "")
        return next(chr(code) for code in _RARE if chr(code) not in used)

    def _mark(self, value: Any, mark: str) -> Any:
        """Return `value` with `mark` before every special token in its strings."""
        if isinstance(value, str):
            return self._special_pattern.sub(lambda match: mark + match[0], value) if self._special_pattern else value
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
    """Return the text of a special token: a string in the config, or the `content` of an object."""
    return token.get("content") if isinstance(token, dict) else token


@contextmanager
def _rust_errors(error_type: type[PlanError | PromptError], problem: str, remedy: str) -> Iterator[None]:
    """Raise an error of archc for an error of the tokenizers library: an Exception, or a panic, which is none."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise error_type(f"{problem}: {str(error)[:300]}; {remedy}") from None
