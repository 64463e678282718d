"""The architecture of a GGUF file, described in `specs/gguf/`: the hub's config and tensor names, from the file's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from archc.archspec.errors import clip
from archc.archspec.source.catalog import specs_dir
from archc.archspec.source.nodes import to_python
from archc.archspec.source.yaml_reader import read_tree
from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import GgufFile
from archc.compiler.weights.checkpoint.gguf.rope_factors import rope_scaling

_NAME = re.compile(r"(?P<stem>.+?)(?P<suffix>\.(weight|bias))?")
_BLOCK = re.compile(r"blk\.(\d+)\.")
_TOKENS, _HEAD = "token_embd.weight", "output.weight"
_DEFAULT_THETA = 10000.0
# Keys that are the same for every architecture.
_TOKEN_KEYS = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}


@dataclass(frozen=True)
class TensorRule:
    """The hub's name of a tensor, and what differs from its form there.

    `heads` is the config key of the number of heads whose rows the file has in pairs; `offset` is added.
    """

    name: str
    heads: str = ""
    offset: float = 0.0

    @property
    def per_expert(self) -> bool:
        """True if the first axis is the expert, and the hub has a tensor for each."""
        return "{expert}" in self.name


class Architecture:
    """A file with the description of its architecture."""

    def __init__(self, file: GgufFile, name: str, description: Mapping[str, Any]) -> None:
        self._file, self._name, self._description = file, name, description

    @cached_property
    def _config(self) -> dict[str, Any]:
        return self.config()

    def config(self) -> dict[str, Any]:
        """Return the config.json of the model. Raises BuildError if a setting is missing or not supported."""
        settings, config = self._file.settings, dict(self._description["config"])
        tokens = self._file.tensors.get(_TOKENS)
        if tokens is None:
            raise BuildError(f"{self._file.path}: tensor '{_TOKENS}' is missing; download it again")
        config["vocab_size"] = tokens.shape[0]
        config["tie_word_embeddings"] = _HEAD not in self._file.tensors
        for key, source in self._description["keys"].items():
            full = f"{self._name}.{source}"
            if full in settings:
                config[key] = _shortest(settings[full])
        factors = self._description.get("rope_factors", {})
        if factors and factors["tensor"] in self._file.tensors:
            theta = config.get("rope_theta", _DEFAULT_THETA)
            config["rope_scaling"] = rope_scaling(self._file, factors["tensor"], theta, factors["settings"])
        for key, full in _TOKEN_KEYS.items():
            if full in settings:
                config[key] = settings[full]
        for source, allowed in self._description.get("allowed", {}).items():
            value = settings.get(f"{self._name}.{source}", allowed)
            if allowed is not None and value != allowed:
                raise BuildError(
                    f"{self._file.path}: {self._name}.{source}: the value {value!r:.60} is not supported; use the "
                    "model's safetensors files"
                )
        return config

    def is_setting(self, name: str) -> bool:
        """Return whether a tensor holds a setting of the config, and is no weight."""
        return bool(name == self._description.get("rope_factors", {}).get("tensor"))

    def rule(self, name: str) -> TensorRule:
        """Return the rule of a tensor; one without a rule has its own name, which no weight table reads."""
        match = _NAME.fullmatch(name)
        stem, suffix = (match["stem"], match["suffix"] or "") if match else (name, "")
        block = _BLOCK.match(stem)
        layer = block[1] if block else ""
        rule = self._description["tensors"].get(_BLOCK.sub("blk.{layer}.", stem))
        if rule is None:
            return TensorRule(name.replace("{", "(").replace("}", ")"))
        details: dict[str, Any] = {"name": rule} if isinstance(rule, str) else rule
        return TensorRule(
            details["name"].replace("{layer}", layer) + suffix,
            details.get("rotary_pairs", ""),
            details.get("offset", 0.0),
        )

    def heads(self, rule: TensorRule) -> int:
        """Return the number of heads of a tensor whose rows are in pairs; 0 for any other."""
        if not rule.heads:
            return 0
        config = self._config
        heads = config.get(rule.heads, config.get("num_attention_heads"))
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
            raise BuildError(f"{self._file.path}: {rule.heads}: expected a number of heads, got {heads!r:.60}")
        return heads


def read_architecture(file: GgufFile) -> Architecture:
    """Return the architecture of a file. Raises BuildError if there is no description of it."""
    name = file.settings.get("general.architecture")
    if not isinstance(name, str) or name not in _descriptions():
        raise BuildError(
            f"{file.path}: the GGUF architecture {clip(repr(name))} is not supported, expected one of "
            f"{', '.join(_descriptions())}; use the model's safetensors files"
        )
    return Architecture(file, name, _description(name))


def _descriptions() -> dict[str, Path]:
    return {path.stem: path for path in sorted((specs_dir() / "gguf").glob("*.yaml"))}


@cache
def _description(name: str) -> dict[str, Any]:
    """Return the description of an architecture, with the one that it extends."""
    own: dict[str, Any] = to_python(read_tree(_descriptions()[name]))
    parent = own.pop("extends", None)
    if parent is None:
        return own
    base = _description(parent)
    return {key: {**base.get(key, {}), **own.get(key, {})} for key in {**base, **own}}


def _shortest(value: Any) -> Any:
    """Return a float32 as the shortest decimal that rounds to it, as config.json has it."""
    import numpy as np

    return float(str(np.float32(value))) if isinstance(value, float) else value
