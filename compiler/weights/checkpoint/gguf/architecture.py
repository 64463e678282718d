"""The architecture of a GGUF file, described in `specs/gguf/`: the hub's config and tensor names, from the file's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from archc.archspec.checking.expressions import parse
from archc.archspec.checking.functions import ExpressionError
from archc.archspec.errors import clip
from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import GgufFile
from archc.compiler.weights.checkpoint.gguf.description import Description, TensorRule, describe, described
from archc.compiler.weights.checkpoint.gguf.rope_scaling import FACTORS, rope_scaling
from archc.compiler.weights.checkpoint.gguf.row_order import grouped_rows, paired_rows
from archc.compiler.weights.checkpoint.gguf.tokens import shortest, token_settings

_TOKENS, _HEAD = "token_embd.weight", "output.weight"
_DEFAULT_THETA = 10000.0
_HUB_FORM = "use the model's safetensors files"


class Architecture:
    """A file with the description of its architecture. Raises BuildError if there is no description of it."""

    def __init__(self, file: GgufFile) -> None:
        name = file.settings.get("general.architecture")
        if not isinstance(name, str) or name not in described():
            raise BuildError(
                f"{file.path}: the GGUF architecture {clip(repr(name))} is not supported, expected one of "
                f"{', '.join(described())}; {_HUB_FORM}"
            )
        self._file, self._prefix = file, f"{name}."
        self._settings = {
            key.removeprefix(self._prefix): self._single(value)
            for key, value in file.settings.items()
            if key.startswith(self._prefix)
        }
        try:
            self._description: Description = describe(name, self._names({}))
        except ExpressionError as error:
            raise self._refused(f"the variant of '{name}' cannot be determined: {error}") from None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config.json of the model. Raises BuildError if a setting is missing or not supported."""
        description, settings = self._description, self._settings
        for key, allowed in description.allowed.items():
            if settings.get(key, allowed) != allowed:
                raise self._refused(f"{self._prefix}{key}: the value {clip(repr(settings[key]))} is not supported")
        if _TOKENS not in self._file.tensors:
            raise BuildError(f"{self._file.path}: tensor '{_TOKENS}' is missing; download it again")
        config = dict(description.config)
        config["vocab_size"] = self._file.tensors[_TOKENS].shape[0]
        config["tie_word_embeddings"] = _HEAD not in self._file.tensors
        for key, source in description.keys.items():
            if isinstance(settings.get(source), list):
                raise self._refused(f"{self._prefix}{source}: values that differ from layer to layer are not supported")
            if source in settings:
                config[key] = settings[source]
        for key, expression in description.derive.items():
            config[key] = self._derive(key, expression, config)
        theta = config.get("rope_theta", _DEFAULT_THETA)
        scaling = rope_scaling(self._file, self._prefix, settings, theta, description.rope)
        if scaling is not None:
            config["rope_scaling"] = scaling
        return config | token_settings(self._file.settings)

    def is_setting(self, name: str) -> bool:
        """Return whether a tensor holds a setting of the config, and is no weight."""
        return name in FACTORS

    def rule(self, name: str) -> TensorRule:
        """Return the rule of a tensor."""
        return self._description.rule(name)

    def row_order(self, name: str, rule: TensorRule, rows: int) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """Return the file's row of each row of the hub's form, None if they are the same.

        Raises BuildError if the number of rows does not fit.
        """
        if not rule.pairs and not rule.groups:
            return None
        heads = self._heads(rule.pairs or rule.heads)
        groups = self._heads(rule.groups) if rule.groups else 0
        multiple = heads + 2 * groups if groups else 2 * heads
        if rows % multiple or (groups and heads % groups):
            raise BuildError(
                f"{self._file.path}: tensor '{clip(name)}' with {rows} rows does not have rows for {heads} heads; "
                "download it again"
            )
        return grouped_rows(rows, heads, groups) if groups else paired_rows(rows, heads)

    def _heads(self, key: str) -> int:
        """Return the number of heads of a config key. Raises BuildError if there is none."""
        heads = self.config.get(key, self.config.get("num_attention_heads"))
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
            raise BuildError(f"{self._file.path}: {key}: expected a number of heads, got {heads!r:.60}")
        return heads

    def _names(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the names that expressions of a description read."""
        return {**config, "file": self._settings, "tensors": self._file.tensors}

    def _derive(self, key: str, expression: Any, config: Mapping[str, Any]) -> Any:
        if not isinstance(expression, str):
            return expression
        try:
            return parse(expression).evaluate(self._names(config))
        except ExpressionError as error:
            raise self._refused(f"{key} cannot be computed: {error}") from None

    @staticmethod
    def _single(value: Any) -> Any:
        """Return a setting; a list with the same value for each layer is this value."""
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]
        return shortest(value)

    def _refused(self, fault: str) -> BuildError:
        return BuildError(f"{self._file.path}: {fault}; {_HUB_FORM}")
