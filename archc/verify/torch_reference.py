"""archc's own torch graph as a reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archc.archspec import BoundSpec
from archc.compiler.build import load_torch, open_slots
from archc.compiler.contract.dtypes import TORCH_DTYPES
from archc.compiler.modules.model import Model, Outputs, meta_model
from archc.compiler.weights.checkpoint.adapters import AdapterOption
from archc.compiler.weights.slots import parameter_slots
from archc.plan import Input, Manifest
from archc.runtime.inputs.masks import build_mask
from archc.verify.references import Floats, to_numpy


class TorchReference:
    """archc's torch graph of a plan's spec, with the weights of a checkpoint and its adapters."""

    def __init__(
        self,
        bound: BoundSpec,
        manifest: Manifest,
        folder: Path,
        dtype: str,
        adapters: Sequence[AdapterOption] = (),
    ) -> None:
        model = meta_model(bound, TORCH_DTYPES[dtype])
        self.name = f"archc's torch graph in {dtype}, torch {torch.__version__}"
        self._model: Model = load_torch(model, open_slots(bound, model, folder, None, adapters))
        self._manifest = manifest

    def slots(self) -> dict[str, torch.Tensor]:
        """Return the weights by slot name, as views of the model's parameters."""
        views: dict[str, torch.Tensor] = {}
        for name, parts in parameter_slots(self._model).items():
            parameter = self._model.get_parameter(name).data
            views |= {name: parameter} if parts == (name,) else dict(zip(parts, parameter, strict=True))
        return views

    @torch.no_grad()
    def outputs(self, ids: Sequence[int], answer: Sequence[int] | None = None) -> dict[str, Floats]:
        """Return the float32 outputs of one prompt alone, by role."""
        if self._model.encoder is None or self._manifest.encoder is None or answer is None:
            return self._by_role(_call(self._model, self._manifest.inputs, ids))
        read = _call(self._model.encoder, self._manifest.encoder.inputs, ids)
        states = self._model.encoder_kv(read.hidden_states)
        result = _call(self._model, self._manifest.inputs, answer, states, len(ids))
        return self._by_role(result) | {"hidden_states": to_numpy(read.hidden_states)}

    def steps(self, ids: Sequence[int], tokens: Sequence[int]) -> Floats:
        """Raise NotImplementedError, because the torch graph keeps no cache."""
        raise NotImplementedError

    @staticmethod
    def _by_role(result: Outputs) -> dict[str, Floats]:
        values = {"logits": result.logits, "hidden_states": result.hidden_states, "pooled": result.pooled}
        values["classes"] = result.classes
        return {role: to_numpy(value) for role, value in values.items() if value is not None}

    def first_not_finite(self, ids: Sequence[int], answer: Sequence[int] | None = None) -> str | None:
        """Return the first module input or output that is not finite, or None."""
        found: list[str] = []

        def watch(name: str) -> Callable[..., None]:
            def hook(_module: object, inputs: Any, output: Any) -> None:
                for port, values in (("input", inputs), ("output", output)):
                    if not found and not all(map(_is_finite, _tensors(values))):
                        found.append(f"the {port} of {name}")

            return hook

        handles = [module.register_forward_hook(watch(name)) for name, module in self._model.named_modules() if name]
        try:
            self.outputs(ids, answer)
        finally:
            for handle in handles:
                handle.remove()
        return found[0] if found else None


def _call(
    model: Model,
    inputs: Sequence[Input],
    ids: Sequence[int],
    states: list[dict[str, torch.Tensor]] | None = None,
    source: int = 0,
) -> Outputs:
    """Run one stack on ids [seq]; an encoder-decoder's decoder has `states` of a source of `source` tokens."""
    count = len(ids)
    past, new = np.zeros(1, np.int64), np.full(1, count, np.int64)
    masks = {
        item.name: torch.from_numpy(
            build_mask(item.mask, past, new, count, count, source=np.full(1, source, np.int64)).copy()
        )
        for item in inputs
        if item.mask is not None
    }
    positions = torch.arange(count)[None]
    outputs: Outputs = model(
        input_ids=torch.tensor([list(ids)]),
        masks=masks,
        position_ids=positions,
        token_type_ids=torch.zeros_like(positions),
        logit_positions=positions,
        states=states,
        lengths=torch.tensor([count]),
    )
    return outputs


def _tensors(values: Any) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in _tensors(value)]
    return []


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
