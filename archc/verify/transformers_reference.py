"""A class of transformers as a reference; code of a checkpoint is never run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from archc.compiler.weights.checkpoint.containers import read_checkpoint_config
from archc.compiler.weights.checkpoint.weights import Weights
from archc.verify.references import Floats, to_numpy


class TransformersReference:
    """A class of transformers in float32 with eager attention, loaded from a checkpoint folder or a GGUF file.

    With `weights`, these are loaded in place of the folder's files, as of a checkpoint that is not quantized; with
    `dequantize`, transformers dequantizes the folder's.
    """

    def __init__(
        self, model_class: Any, folder: Path, weights: Weights | None = None, dequantize: bool = False
    ) -> None:
        import transformers

        if folder.is_file():  # GGUF
            config = model_class.config_class.from_dict(read_checkpoint_config(folder) or {})
        else:
            config = model_class.config_class.from_pretrained(folder, local_files_only=True)
        if weights is not None and hasattr(config, "quantization_config"):
            del config.quantization_config
        if dequantize:
            config.quantization_config = dict(config.quantization_config, dequantize=True)
        model, loaded = model_class.from_pretrained(
            folder if weights is None else None,
            config=config,
            state_dict=None if weights is None else {name: weights.read(name) for name in weights.names()},
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        if missing := sorted(loaded["missing_keys"]):
            raise ValueError(f"weight {missing[0]} is missing")
        self.name = f"transformers {transformers.__version__}, {model_class.__name__} in float32"
        self._model = model.eval()

    @torch.no_grad()
    def outputs(self, ids: Sequence[int], answer: Sequence[int] | None = None) -> dict[str, Floats]:
        """Return the float32 outputs of one prompt alone, by role."""
        tokens = torch.tensor([ids])
        mask = torch.ones_like(tokens)
        if answer is not None:
            decoder_ids = torch.tensor([list(answer)])
            result = self._model(input_ids=tokens, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False)
            return {"logits": to_numpy(result.logits), "hidden_states": to_numpy(result.encoder_last_hidden_state)}
        result = self._model(input_ids=tokens, attention_mask=mask, output_hidden_states=True)
        if (classes := _class_logits(self._model, result)) is not None:
            return {"classes": to_numpy(classes), "hidden_states": to_numpy(result.hidden_states[-1])}
        values = {
            "logits": getattr(result, "logits", getattr(result, "prediction_logits", None)),
            "hidden_states": result.hidden_states[-1] if result.hidden_states else None,
            "pooled": getattr(result, "pooler_output", None),
        }
        return {role: to_numpy(value) for role, value in values.items() if value is not None}

    @torch.no_grad()
    def steps(self, ids: Sequence[int], tokens: Sequence[int]) -> Floats:
        """Return the logits [1 + n, vocab] after the prompt, and after each of n more tokens, read with a cache."""
        from transformers import DynamicCache

        # The class remembers the longest length of its calls in dynamic rotary frequencies.
        model, cache = copy.deepcopy(self._model), DynamicCache()
        calls = [list(ids), *([token] for token in tokens)]
        logits = [model(torch.tensor([call]), past_key_values=cache, use_cache=True).logits[:, -1] for call in calls]
        return to_numpy(torch.stack(logits, dim=1))


def _class_logits(model: Any, result: Any) -> Any:
    """Return the logits of a class with a head for classes or spans, or None for another class."""
    if "QuestionAnswering" in type(model).__name__:
        return torch.stack([result.start_logits, result.end_logits], dim=-1)
    return result.logits if "Classification" in type(model).__name__ else None


def find_class(config: dict[str, Any]) -> Any:
    """Return the class that a config's `architectures` names, or None without transformers, or such a class."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        return None
    try:
        import transformers
    except ImportError:
        return None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found = getattr(transformers, names[0], None)
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if is_model and getattr(found, "config_class", None) is not None else None
