"""References that are classes of transformers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from tests.families.case import Ids, Outputs
from tests.families.random_weights import spread

Rename = Callable[[dict[str, Tensor]], dict[str, Tensor]]
Respell = Callable[[dict[str, Any]], dict[str, Any]]

# transformers' names of outputs, and the plan's.
_ROLES = {"logits": "logits", "prediction_logits": "logits", "pooler_output": "pooled"}


class FromTransformers:
    """A model of a transformers class, on random weights.

    `weights` and `config` rewrite what `save_pretrained` stored, for files of other generations; `outside` are names of
    parameters that archc does not read, and that do not count.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        weights: Rename | None = None,
        config: Respell | None = None,
        outside: Sequence[str] = (),
        shard_bytes: int | None = None,
    ) -> None:
        self.model = model.eval().float()
        self._weights, self._config, self._outside, self._shard_bytes = weights, config, outside, shard_bytes
        if model.can_generate():
            model.generation_config.eos_token_id = None

    @property
    def source(self) -> str:
        """The class and the version of transformers."""
        return f"transformers {version('transformers')} {type(self.model).__name__}"

    @property
    def parameters(self) -> int:
        """The class's own count, less what archc leaves out."""
        named = self.model.named_parameters()
        return sum(p.numel() for name, p in named if not any(part in name for part in self._outside))

    def save(self, folder: Path) -> None:
        """`save_pretrained`, and the rewriting that was asked for."""
        limits = {"max_shard_size": self._shard_bytes} if self._shard_bytes else {}
        self.model.save_pretrained(folder, **limits)
        if self._weights is not None:
            file = folder / "model.safetensors"
            renamed = self._weights(load_file(file))
            save_file({name: value.contiguous() for name, value in renamed.items()}, file, {"format": "pt"})
        if self._config is not None:
            file = folder / "config.json"
            file.write_text(json.dumps(self._config(json.loads(file.read_text("utf-8")))), "utf-8")

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None) -> Outputs:
        """One call of the class, without a cache."""
        extra = {} if token_type_ids is None else {"token_type_ids": torch.tensor(token_type_ids)}
        if "BertModel" not in type(self.model).__name__:
            extra |= {"output_hidden_states": True}
        if self.model.can_generate():
            extra |= {"use_cache": False}
        with torch.no_grad():
            result = self._fresh()(torch.tensor(ids), **extra)
        return dict(_by_role(result))

    def in_steps(self, ids: Sequence[int], sizes: Sequence[int]) -> NDArray[np.float32]:
        """Calls of the class with its own cache."""
        model, cache = self._fresh(), DynamicCache()
        parts = torch.tensor([list(ids)]).split(list(sizes), dim=1)
        with torch.no_grad():
            logits = [model(part, past_key_values=cache, use_cache=True).logits[0] for part in parts]
        return torch.cat(logits).numpy()

    def _fresh(self) -> nn.Module:
        # Dynamic rope scaling leaves the length of earlier calls behind in the module.
        return copy.deepcopy(self.model)


def _by_role(result: Mapping[str, Any]) -> list[tuple[str, NDArray[np.float32]]]:
    found = [(_ROLES[name], value.numpy()) for name, value in result.items() if name in _ROLES]
    last = result.get("last_hidden_state")
    if last is None and result.get("hidden_states") is not None:
        last = result["hidden_states"][-1]
    if last is not None:
        found.append(("hidden_states", last.numpy()))
    return found


def make(
    class_name: str, config: transformers.PreTrainedConfig, seed: int, *, unit_offset: bool = False, **options: Any
) -> FromTransformers:
    """A reference of a class by its name, its weights random."""
    attention = "sdpa"  # eager attention adds Falcon's ALiBi twice
    model = getattr(transformers, class_name)._from_config(config, attn_implementation=attention)
    spread(model, seed, unit_offset=unit_offset)
    return FromTransformers(model, **options)
