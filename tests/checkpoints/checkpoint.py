"""An official checkpoint as data: the files of its repository, and the facts about it that the tests check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from archc.proof.case import Reference
from tests.checkpoints.published import Config, small_config
from tests.checkpoints.stored import Stored, tensors_of
from tests.checkpoints.texts import Text, Vocabulary

MESSAGES = [
    {"role": "user", "content": "hello fox 12345"},
    {"role": "assistant", "content": "lazy dog"},
    {"role": "user", "content": "你好 jumps"},
]

Ids = Callable[[Text], list[int]]
Names = str | Sequence[Any]
"""The text of a special token, or lists of them."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One row of the table. Keys of `roles` are those of config.json whose values are ids of special tokens."""

    name: str
    #: The hub repository whose config.json has the keys; None if no file is published.
    source: str | None
    spec: str
    reference: Callable[[Config], Reference]
    stored: Stored
    vocabulary: Vocabulary
    #: Differences from the published config, besides small sizes.
    changes: Mapping[str, Any] = field(default_factory=dict)
    #: The vocabulary's published size where the spec is told by it; otherwise that of the small tokenizer.
    vocab_size: int | None = None
    roles: Mapping[str, Names] = field(default_factory=dict)
    #: Without config.json, the names and shapes of tensors select the spec.
    has_config: bool = True
    #: Writes weights and settings of a folder without config.json, for repositories in their makers' own form.
    own_form: Callable[[Path, Reference], None] | None = None
    #: Further files: objects are written as JSON; functions have the ids of the small tokenizer.
    files: Mapping[str, str | Mapping[str, Any] | Callable[[Text], Mapping[str, Any]]] = field(default_factory=dict)
    #: Special tokens before and after a plain prompt.
    begin: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    #: The conversation of MESSAGES as text, or as ids; None for a checkpoint without a chat format.
    chat: str | Ids | None = None
    #: The tokenizer is in another repository, and is named with --tokenizer.
    is_tokenizer_elsewhere: bool = False
    #: No config.json selects the spec, which a build has to name.
    is_spec_named: bool = False
    topology: str = "decoder"

    def config(self, text: Text) -> Config:
        """Return the published config with small sizes and with the ids of the small tokenizer."""
        config = small_config(self.source) | dict(self.changes)
        size = self.vocab_size or text.size
        config |= {key: size for key in ("vocab_size", "padded_vocab_size", "decoder_vocab_size") if key in config}
        return config | ids_of(self.roles, text)

    def write(self, folder: Path) -> tuple[Reference, Text]:
        """Write the folder; return an independent implementation with the same weights, and the genuine tokenizer."""
        folder.mkdir(parents=True)
        elsewhere = folder.parent / "tokenizer"
        elsewhere.mkdir()
        text = self.vocabulary.write(elsewhere if self.is_tokenizer_elsewhere else folder)
        config = self.config(text)
        reference = self.reference(config)
        _silence_ids_without_token(reference, text.size)
        tensors, reference = tensors_of(reference, self.stored, folder.parent)
        quantization = self.stored.quantization_config
        if quantization is not None:
            config["quantization_config"] = dict(quantization)
        files: dict[str, Any] = dict(self.files)
        if self.own_form is not None:
            self.own_form(folder, reference)
        else:
            self.stored.write(folder, tensors)
        if self.own_form is None and self.has_config:
            files["config.json"] = config
        for name, content in files.items():
            content = content(text) if callable(content) else content
            written = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            (folder / name).write_text(written, "utf-8")
        return reference, text


@dataclass(frozen=True)
class Refused:
    """A checkpoint in the format of another framework: its files, and the words of the error."""

    name: str
    files: Sequence[str]
    message: str
    form: str
    instead: str

    def write(self, folder: Path) -> None:
        """Write files of the names that the repository has."""
        for name in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"x")


def ids_of(roles: Mapping[str, Names], text: Text) -> dict[str, Any]:
    """Return the ids of special tokens by key."""

    def number(names: Names) -> Any:
        return text.special[names] if isinstance(names, str) else [number(name) for name in names]

    return {key: number(names) for key, names in roles.items()}


def _silence_ids_without_token(reference: Reference, size: int) -> None:
    """Set the head's rows past the tokenizer's size to zero, so that greedy decoding has text."""
    model = getattr(reference, "model", None)
    weights = model.state_dict() if model is not None else getattr(reference, "weights", {})
    for name in ("lm_head.weight", "transformer.output_layer.weight", "head.weight"):
        if name in weights:
            with torch.no_grad():
                weights[name][size:] = 0.0
