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
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from archc.proof.case import Ids, Outputs
from archc.proof.random_weights import spread

Rename = Callable[[dict[str, Tensor]], dict[str, Tensor]]
Respell = Callable[[dict[str, Any]], dict[str, Any]]


class FromTransformers:
    """A model of a transformers class, on random weights.

    `weights` and `respell` rewrite what `save_pretrained` stored, for files of other generations; `outside` are
    names of parameters that archc does not read, and that do not count. A class that keeps no state is not `cached`.
    An encoder that would take one token for padding wherever it stands is told its positions, from `first_position` on.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        weights: Rename | None = None,
        respell: Respell | None = None,
        outside: Sequence[str] = (),
        shard_bytes: int | None = None,
        cached: bool = True,
        first_position: int | None = None,
    ) -> None:
        untyped: Any = model
        self.model: Any = untyped.eval().float()
        self._weights, self._respell, self._outside, self._shard_bytes = weights, respell, outside, shard_bytes
        self._cached, self._first_position = cached, first_position
        if model.can_generate():
            model.generation_config.eos_token_id = None

    @property
    def provenance(self) -> str:
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
        if self._respell is not None:
            file = folder / "config.json"
            config = self._respell(json.loads(file.read_text("utf-8")))
            file.write_text(json.dumps(config), "utf-8")
            if "forced_bos_token_id" in config:
                # Generation settings in config.json are of a time without generation_config.json, which replaces them.
                (folder / "generation_config.json").unlink()

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None) -> Outputs:
        """One call of the class, without a cache."""
        tokens = torch.tensor(ids)
        model = self._fresh()
        with torch.no_grad():
            if model.can_generate():
                return {"logits": model(tokens, use_cache=False).logits.numpy()}
            more = {} if token_type_ids is None else {"token_type_ids": torch.tensor(token_type_ids)}
            if self._first_position is not None:
                more["position_ids"] = (torch.arange(tokens.shape[1]) + self._first_position).expand(tokens.shape)
            return self._encoded(model, tokens, more)

    @staticmethod
    def _encoded(model: PreTrainedModel, tokens: Tensor, more: dict[str, Tensor]) -> Outputs:
        """Return an encoder's outputs, by its class and by the class within."""
        inner = model.base_model(tokens, **more)
        outputs = {"hidden_states": inner.last_hidden_state}
        if getattr(inner, "pooler_output", None) is not None:
            outputs["pooled"] = inner.pooler_output
        name = type(model).__name__
        if "WithProjection" in name:
            outputs["pooled"] = model(tokens, **more).text_embeds
        elif "Classification" in name:
            # Some classes refuse several rows without a padding token, and take that token for padding.
            rows = [
                model(row[None], **{key: value[i : i + 1] for key, value in more.items()})
                for i, row in enumerate(tokens)
            ]
            outputs["classes"] = torch.cat([row.logits for row in rows])
        elif "QuestionAnswering" in name:
            result = model(tokens, **more)
            outputs["classes"] = torch.stack([result.start_logits, result.end_logits], dim=-1)
        elif model.base_model is not model:
            result = model(tokens, **more)
            outputs["logits"] = result.logits if "logits" in result else result.prediction_logits
        return {role: value.numpy() for role, value in outputs.items()}

    def in_steps(self, ids: Sequence[int], sizes: Sequence[int]) -> NDArray[np.float32]:
        """Call the class with its own cache; a class without one runs the whole row."""
        if not self._cached:
            assert sum(sizes) == len(ids)
            whole: NDArray[np.float32] = self.outputs([ids])["logits"][0]
            return whole
        model, cache = self._fresh(), self.cache()
        parts = torch.split(torch.tensor([list(ids)]), list(sizes), dim=1)
        with torch.no_grad():
            logits = [model(part, past_key_values=cache, use_cache=True).logits[0] for part in parts]
        row: NDArray[np.float32] = torch.cat(logits).numpy()
        return row

    def cache(self) -> DynamicCache:
        """Return an empty cache."""
        return DynamicCache()

    def _fresh(self) -> Any:
        # Dynamic rope scaling leaves the length of earlier calls behind in the module.
        return copy.deepcopy(self.model)


class Indexed(FromTransformers):
    """A class whose cache has the keys of its indexers."""

    def cache(self) -> DynamicCache:
        """Return an empty cache of the kinds of the layers."""
        return DynamicCache(config=self.model.config)


def make(
    class_name: str,
    config: PreTrainedConfig,
    seed: int,
    *,
    unit_offset: bool = False,
    attention: str | None = None,  # sdpa if the class has it: eager attention adds Falcon's ALiBi twice
    table: float = 0.3,  # spread of embeddings; where one counts too much, a tied head repeats its input
    gains: Mapping[str, float] | None = None,  # factors on parameters whose names end so; the longest end counts
    kind: type[FromTransformers] = FromTransformers,
    prepare: Callable[[PreTrainedModel], None] = lambda model: None,  # before its parameters get their numbers
    **options: Any,
) -> FromTransformers:
    """Return a reference of a class by its name, with random weights."""
    model_class = getattr(transformers, class_name)
    attention = attention or ("sdpa" if model_class._supports_sdpa else "eager")
    model = model_class._from_config(config, attn_implementation=attention)
    prepare(model)
    spread(model, seed, table=table, unit_offset=unit_offset)
    for name, parameter in model.named_parameters():
        end = max((end for end in gains or {} if name.endswith(end)), key=len, default=None)
        if gains and end is not None:
            parameter.data.mul_(gains[end])
    return kind(model, **options)
