"""The tokenizer of a plan: text to token ids and back, and chat templates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from archc.plan.reader import Plan
from archc.runtime.errors import PlanError, PromptError
from archc.runtime.text.added_tokens import AddedToken, read_added_tokens
from archc.runtime.text.chat import Rendered, check_messages, pick_template, render
from archc.runtime.text.detokenizer import Detokenizer
from archc.runtime.text.json_file import JsonTokenizer
from archc.runtime.text.longest_match import FILE as LONGEST_MATCH
from archc.runtime.text.longest_match import LongestMatch
from archc.runtime.text.protocol import TokenizerEngine
from archc.runtime.text.two_vocabularies import SOURCE, TABLE, TARGET, TwoVocabularies

FOLDER = "tokenizer/"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_UNTRUSTED = ("messages", "tools", "documents")


class Tokenizer:
    """A plan's tokenizer and chat template."""

    def __init__(self, engine: TokenizerEngine, config: Mapping[str, Any], template: str | None) -> None:
        self._engine = engine
        longest_first = sorted(engine.special, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._hidden = {token: text for text, token in engine.special.items()}
        self._config = config
        self.template = template

    @classmethod
    def from_plan(cls, plan: Plan) -> Tokenizer | None:
        """Return the tokenizer of `plan`, or None if it has none; raise PlanError if its files are damaged."""
        files = {name.removeprefix(FOLDER): name for name in plan.names if name.startswith(FOLDER)}
        if SOURCE not in files and LONGEST_MATCH not in files:
            return None

        def read_json(name: str) -> dict[str, Any]:
            if name not in files:
                return {}
            content = plan.read(files[name])
            try:
                value = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise PlanError(f"{plan.path}: {FOLDER}{name} is not JSON: {error}; build the plan again") from None
            return value if isinstance(value, dict) else {}

        config = read_json("special_tokens_map.json") | read_json("tokenizer_config.json")
        added = read_added_tokens(config, read_json("added_tokens.json"))
        template = pick_template(config.get("chat_template"))
        if "chat_template.jinja" in files:
            content = plan.read(files["chat_template.jinja"])
            try:
                template = content.decode()
            except UnicodeDecodeError as error:
                raise PlanError(
                    f"{plan.path}: {FOLDER}chat_template.jinja is not UTF-8: {error}; build the plan again"
                ) from None
        return cls(_engine(plan, files, config, added), config, template)

    @property
    def vocab_size(self) -> int:
        """Return the number of ids of the tokenizer, which may be smaller than that of the model."""
        return self._engine.vocab_size

    @property
    def definition(self) -> str | None:
        """Return the content of a tokenizer.json with all added tokens, or None for another kind of tokenizer."""
        return self._engine.definition if isinstance(self._engine, JsonTokenizer) else None

    def encode(self, text: str, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """Return the ids of `text`, with the special tokens of the tokenizer's template if `add_special_tokens`.

        Special tokens in the text are plain text unless `parse_special`. Raises PromptError for a lone surrogate.
        """
        return self._engine.encode(_checked(text), add_special_tokens, parse_special)

    def encode_whole(
        self, first: str, second: str | None = None
    ) -> tuple[list[int], list[int], list[tuple[int, int] | None]]:
        """Return ids, token types and characters of a text or of a pair, with the special tokens of the template.

        The characters of a pair are those in the second text; special tokens have none. Special tokens in a text are
        plain text. Raises PromptError for a lone surrogate, and for a tokenizer that has no template of pairs.
        """
        if not isinstance(self._engine, JsonTokenizer):
            if second is not None:
                raise PromptError("the plan's tokenizer has no template for pairs of texts; pass one text")
            ids = self._engine.encode(_checked(first), True, False)
            return ids, [0] * len(ids), [None] * len(ids)
        checked = _checked(second) if second is not None else None
        encoding = self._engine.encoding(_checked(first), True, False, checked)
        part = 0 if second is None else 1
        places = zip(encoding.sequence_ids, encoding.offsets, strict=True)
        return encoding.ids, encoding.type_ids, [span if owner == part else None for owner, span in places]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Return the text of `ids`; ids without a token have none."""
        if any(not 0 <= token < 1 << 32 for token in ids):
            raise PromptError("ids: expected numbers from 0 to 2^32 - 1, got a negative or larger one")
        return self._engine.decode(ids, skip_special_tokens)

    @property
    def special(self) -> Mapping[str, int]:
        """Return the id of each special token by its text."""
        return self._engine.special

    def stream(self, prompt: Sequence[int] = (), show_special: bool = False, marks: Sequence[str] = ()) -> Detokenizer:
        """Return an incremental detokenizer for ids that continue `prompt`.

        The text has special tokens if `show_special`, or else those that `marks` have, such as the texts of
        `ChatFormat.marks`.
        """
        shown = {token for token, text in self._hidden.items() if any(text in mark for mark in marks)}
        if shown and not show_special:
            hidden = {token: text for token, text in self._hidden.items() if token not in shown}

            def decode(ids: Sequence[int]) -> str:
                return self.decode([token for token in ids if token not in hidden], skip_special_tokens=False)

            return Detokenizer(decode, prompt, hidden)
        if show_special:
            return Detokenizer(lambda ids: self.decode(ids, skip_special_tokens=False), prompt)
        return Detokenizer(self.decode, prompt, self._hidden)

    def special_tokens_in(self, text: str) -> list[str]:
        """Return the special tokens that `text` spells, each once."""
        return list(dict.fromkeys(self._special_pattern.findall(text))) if self._special_pattern else []

    def chat(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any) -> str:
        """Return the chat template's text for `messages`; use `chat_ids` for the input of a model."""
        return self._render(messages, add_generation_prompt, variables, trace=False).text

    def chat_ids(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any
    ) -> list[int]:
        """Return the ids of the chat template's text; special tokens in messages, tools and documents are plain text.

        A special token is the template's if its first and last characters are, as in `<|` + role + `|>`.
        Raises PromptError if the plan has no chat template, or the template fails.
        """
        rendered = self._render(messages, add_generation_prompt, variables, trace=True)
        text = _checked(rendered.text)
        if rendered.untrusted is None:
            inputs = json.dumps([messages, *map(variables.get, _UNTRUSTED)], ensure_ascii=False)
            spelled = set(self.special_tokens_in(inputs))
            spans = [span for span in self._special_spans(text) if text[slice(*span)] not in spelled]
        else:
            spans = self._special_spans(text, rendered.untrusted)
        if len(spans) == len(self._special_spans(text)):
            return self._engine.encode(text, add_special_tokens=False, parse_special=True)
        return self._engine.encode_marked(text, spans)

    def _special_spans(self, text: str, untrusted: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int]]:
        """Return the character ranges of special tokens that neither begin nor end in an untrusted range."""
        is_untrusted = bytearray(len(text))
        for first, last in untrusted:
            is_untrusted[first:last] = b"\1" * (last - first)
        spans, at = list[tuple[int, int]](), 0
        while self._special_pattern and (match := self._special_pattern.search(text, at)):
            first, last = match.span()
            if is_untrusted[first] or is_untrusted[last - 1]:
                at = first + 1
            else:
                spans.append((first, last))
                at = last
        return spans

    def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
        trace: bool,
    ) -> Rendered:
        checked = check_messages(messages)
        if self.template is None:
            raise PromptError("the plan has no chat template; pass the prompt as plain text, without --chat")
        special = {name: _content(self._config.get(name)) for name in _SPECIAL if self._config.get(name)}
        inputs = {
            "messages": checked,
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
            "documents": None,
        }
        return render(self.template, {**special, **inputs, **variables}, _UNTRUSTED if trace else ())


def _engine(
    plan: Plan, files: Mapping[str, str], config: Mapping[str, Any], added: Sequence[AddedToken]
) -> TokenizerEngine:
    """Return the engine that the plan's files require."""
    if SOURCE not in files:
        return LongestMatch(plan.read(files[LONGEST_MATCH]), added)
    if TARGET not in files:
        return JsonTokenizer(plan.read(files[SOURCE]), added)
    if TABLE not in files:
        raise PlanError(f"{plan.path}: {FOLDER}{TABLE} not found, but {FOLDER}{TARGET} is; build the plan again")
    source, target, table = (plan.read(files[name]) for name in (SOURCE, TARGET, TABLE))
    end, unknown, pad = (
        str(_content(config.get(name)) or default)
        for name, default in (("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>"))
    )
    return TwoVocabularies(source, target, table, end, unknown, (pad,))


def _checked(text: str) -> str:
    """Return `text`; raise PromptError for another type or a lone surrogate."""
    if not isinstance(text, str):
        raise PromptError(f"prompt: expected text, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = error.start
        raise PromptError(f"prompt, character {at}: lone surrogate {text[at]!r}; pass valid Unicode text") from None
    return text


def _content(token: Any) -> Any:
    """Return the text of a special token: a string in the config, or the `content` of an object."""
    return token.get("content") if isinstance(token, dict) else token
