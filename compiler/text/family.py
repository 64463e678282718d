"""The text of a family where a checkpoint's files leave it out: tokens around prompts, chat template, stop tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from archc.archspec.vocabulary import Text, Whitespace
from archc.archspec.vocabulary.model import Prefix
from archc.compiler.errors import BuildError
from archc.compiler.text.convert import convert_files
from archc.compiler.text.files import parse_object, read_object
from archc.compiler.text.formats import find_file
from archc.compiler.text.settings import TextSettings
from archc.compiler.text.tokenizer_json import TokenizerJson
from archc.plan.chat_format import Calls, ChatFormat, Reasoning

_LONGEST_SPACES = 80  # of one token
_VOCABULARIES = ("tokenizer.json", "rwkv_vocab.txt")

Warn = Callable[[str], None]


def text_files(
    checkpoint: Path | None, tokenizer: str | Path | None, text: Text, overridden: Collection[str], warn: Warn
) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """Return the tokenizer files of a plan by name, and the ids of the family's stop tokens.

    `tokenizer` is a folder or a file that replaces the checkpoint's tokenizer. `overridden` are the paths of keys, such
    as `text.chat`, that take precedence over the files; others are used where the files leave them out.
    """
    files = convert_files(checkpoint, tokenizer, _settings(text), warn)
    place = str(tokenizer or checkpoint)
    if text == Text() or files.keys().isdisjoint(_VOCABULARIES):
        return files, ()
    if "tokenizer.json" not in files:  # a tokenizer with its own engine in the runtime
        return _with_chat(files, text, {}, overridden), tuple(token for token in text.stop if isinstance(token, int))
    own = _is_json(Path(place))
    content = TokenizerJson(files["tokenizer.json"], place)

    def find(key: str, *tokens: int | str | None) -> list[tuple[str, int]]:
        """Return text and id of tokens of a key of `text`; warn of those that the tokenizer lacks."""
        pairs: list[tuple[str, int]] = []
        for token in tokens:
            pair = content.find(token) if token is not None else None
            if token is not None and pair is None:
                warn(f"{place}: the tokenizer has no token {token!r}, which text.{key} names; set text.{key}")
            pairs += [pair] if pair is not None else []
        return pairs

    generation = _object(files, "generation_config.json")
    turns: dict[str, list[tuple[str, int]]] = {}
    for key, stated in (("user", text.user), ("assistant", text.assistant)):
        number = generation.get(f"{key}_token_id")
        turns[f"{key}_token"] = find(key, number if isinstance(number, int) and stated is not None else stated)
    stop = find("stop", *text.stop)
    begin, end = find("begin", *(text.begin or ())), find("end", *(text.end or ()))
    changed = not own
    if not own:
        for pair in (*turns["user_token"], *turns["assistant_token"], *stop, *begin, *end):
            content.make_special(*pair)
        content.replace_text((white, token) for white, token in _white_space(text.whitespace) if content.find(token))
    surrounded = text.begin is not None or text.end is not None
    if surrounded and (not own or _is_open(content, files) or not {"text.begin", "text.end"}.isdisjoint(overridden)):
        content.surround(begin, end)
        changed = True
    if changed:
        files = {**files, "tokenizer.json": content.serialize()}
    names = {name: pairs[0][0] for name, pairs in turns.items() if pairs}
    return _with_chat(files, text, names, overridden), tuple(token_id for _, token_id in stop)


def check_prefix(prefix: Prefix | None, text: Text, files: Mapping[str, bytes], place: str) -> None:
    """Check that a prompt of text ends in the token that the config of a prefix LM has at the end of its prefix.

    Raises BuildError if the tokenizer has another id for it, as one of another revision of the checkpoint does.
    """
    if prefix is None or not text.end or "tokenizer.json" not in files:
        return
    found = TokenizerJson(files["tokenizer.json"], place).find(text.end[-1])
    if found is not None and found[1] != prefix.end:
        raise BuildError(
            f"{place}: the tokenizer has {found[0]!r} as {found[1]}, and config.json as {prefix.end}: they are of "
            "different revisions; use the newest revision of the checkpoint, with all of its files"
        )


def chat_stop(files: Mapping[str, bytes], text: Text) -> tuple[str, ...]:
    """Return the texts that end an answer if the chat template of the files is the family's, otherwise none."""
    template = files.get("chat_template.jinja", b"")
    return text.stop_text if text.chat is not None and template.endswith(text.chat.encode()) else ()


def chat_format(files: Mapping[str, bytes], text: Text) -> ChatFormat | None:
    """Return the family's format of tool calls and reasoning, as far as the chat template of the files has it."""
    template = files.get("chat_template.jinja", b"").decode(errors="replace")
    template = template or json.dumps(
        _object(dict(files), "tokenizer_config.json").get("chat_template") or "", ensure_ascii=False
    )
    calls = text.calls if text.calls is not None and _occurs(text.calls.sign, template) else None
    reasoning = text.reasoning if text.reasoning is not None and _occurs(text.reasoning.end, template) else None
    if calls is None and reasoning is None:
        return None
    return ChatFormat(
        calls=Calls(**calls.model_dump(exclude={"sign"})) if calls is not None else None,
        reasoning=Reasoning(**reasoning.model_dump()) if reasoning is not None else None,
        around=text.around,
    )


def _occurs(text: str, template: str) -> bool:
    """Return whether a chat template has a text, as such or in a string of Jinja or JSON."""
    return text in template or json.dumps(text, ensure_ascii=False)[1:-1] in template


def _settings(text: Text) -> TextSettings:
    """Return the settings of the conversion; tokens around a prompt and the chat template are added afterward."""
    return TextSettings(text.pattern, text.normalize, text.tokens_after_vocabulary)


def _is_json(path: Path) -> bool:
    """Return whether the tokenizer of a folder, or a file, is a tokenizer.json, which is complete by itself."""
    found = find_file(path) if path.is_dir() else path
    is_json = isinstance(found, Path) and found.suffix == ".json" and found.name != "vocab.json"
    return is_json and "model" in read_object(Path(found))


def _is_open(tokenizer: TokenizerJson, files: dict[str, bytes]) -> bool:
    """Return whether the folder's files leave the tokens around a prompt open."""
    config = _object(files, "tokenizer_config.json")
    return not tokenizer.adds_tokens() and config.keys().isdisjoint(("add_bos_token", "add_eos_token"))


def _with_chat(
    files: dict[str, bytes], text: Text, turns: dict[str, str], overridden: Collection[str]
) -> dict[str, bytes]:
    """Return the files with the family's chat template, if the folder has none or the template is overridden."""
    own = "chat_template.jinja" in files or _object(files, "tokenizer_config.json").get("chat_template")
    if text.chat is None or (own and "text.chat" not in overridden):
        return files
    variables = [f"{{%- set {name} = {json.dumps(token, ensure_ascii=False)} -%}}\n" for name, token in turns.items()]
    return {**files, "chat_template.jinja": ("".join(variables) + text.chat).encode()}


def _white_space(tokens: Whitespace) -> Iterator[tuple[str, str]]:
    """Yield white space and the token that stands for it, the longest first."""
    if tokens.newline is not None:
        yield "\n", tokens.newline
    if tokens.tab is not None:
        yield "\t", tokens.tab
    for count in range(_LONGEST_SPACES, 1, -1) if tokens.spaces is not None else ():
        yield " " * count, str(tokens.spaces).replace("{n}", str(count))


def _object(files: dict[str, bytes], name: str) -> dict[str, Any]:
    return parse_object(files[name], name) if name in files else {}
