"""What a plan is compared with: the transformers class of its checkpoint, or our own torch graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from archc.archspec import ArchspecError, BoundSpec, detect_spec, load_spec, load_spec_text
from archc.compiler.build import load_torch, open_slots
from archc.compiler.contract.inputs_outputs import DTYPES
from archc.compiler.modules.model import Model, Outputs, meta_model
from archc.compiler.weights.checkpoint.folder import read_folder_config
from archc.plan import Input, Manifest
from archc.runtime.inputs.masks import build_mask

Floats = NDArray[np.float32]


class Reference(Protocol):
    """Something to compare with; `outputs` takes one prompt's ids and gives its outputs by role, [seq, …]."""

    name: str

    def outputs(self, ids: Sequence[int], answer: Sequence[int] | None = None) -> dict[str, Floats]:
        """float32 outputs of one prompt alone; `pooled` is [hidden].

        An encoder-decoder's prompt is its source: hidden_states are of that, logits of the `answer`.
        """
        ...


class TorchReference:
    """Our torch graph, with the checkpoint's weights; `first_not_finite` watches its modules."""

    def __init__(self, bound: BoundSpec, manifest: Manifest, folder: Path, dtype: str) -> None:
        model = meta_model(bound, DTYPES[dtype])
        self.name = f"archc's torch graph in {dtype}, torch {torch.__version__}"
        self._model: Model = load_torch(model, open_slots(bound, model, folder, None))
        self._manifest = manifest

    @torch.no_grad()
    def outputs(self, ids: Sequence[int], answer: Sequence[int] | None = None) -> dict[str, Floats]:
        """float32 outputs of one prompt alone, by role."""
        if self._model.encoder is None or self._manifest.encoder is None or answer is None:
            return self._named(_call(self._model, self._manifest.inputs, ids))
        read = _call(self._model.encoder, self._manifest.encoder.inputs, ids)
        states = self._model.encoder_kv(read.hidden_states)
        result = _call(self._model, self._manifest.inputs, answer, states, len(ids))
        return self._named(result) | {"hidden_states": _numpy(read.hidden_states)}

    @staticmethod
    def _named(result: Outputs) -> dict[str, Floats]:
        found = {"logits": result.logits, "hidden_states": result.hidden_states, "pooled": result.pooled}
        return {role: _numpy(value) for role, value in found.items() if value is not None}

    def first_not_finite(self, ids: Sequence[int], answer: Sequence[int] | None = None) -> str | None:
        """The first module to give something that is not finite, or to be given it; None where none does."""
        found: list[str] = []

        def watch(name: str) -> Callable[..., None]:
            def hook(module: object, inputs: Any, output: Any) -> None:
                for what, values in (("input", inputs), ("output", output)):
                    if not found and not all(map(_is_finite, _tensors(values))):
                        found.append(f"the {what} of {name}")

            return hook

        handles = [module.register_forward_hook(watch(name)) for name, module in self._model.named_modules() if name]
        try:
            self.outputs(ids, answer)
        finally:
            for handle in handles:
                handle.remove()
        return found[0] if found else None


def _call(
    model: Model, inputs: Sequence[Input], ids: Sequence[int], states: list[dict[str, torch.Tensor]] | None = None,
    source: int = 0,
) -> Outputs:  # fmt: skip
    """One call of a stack, of which an encoder-decoder's decoder reads a source of so many tokens."""
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


class TransformersReference:
    """A class of transformers, in float32 with its plain attention; code of the checkpoint is never run."""

    def __init__(self, kind: Any, folder: Path) -> None:
        import transformers

        model, loaded = kind.from_pretrained(
            folder,
            config=kind.config_class.from_pretrained(folder, local_files_only=True),
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        if missing := sorted(loaded["missing_keys"]):
            raise ValueError(f"it misses {missing[0]}")
        self.name = f"transformers {transformers.__version__}, {kind.__name__} in float32"
        self._model = model.eval()

    @torch.no_grad()
    def outputs(self, ids: Sequence[int], answer: Sequence[int] | None = None) -> dict[str, Floats]:
        """float32 outputs of one prompt alone, by role."""
        tokens = torch.tensor([ids])
        if answer is not None:
            given = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
            result = self._model(**given, decoder_input_ids=torch.tensor([list(answer)]), use_cache=False)
            return {"logits": _numpy(result.logits), "hidden_states": _numpy(result.encoder_last_hidden_state)}
        result = self._model(input_ids=tokens, attention_mask=torch.ones_like(tokens), output_hidden_states=True)
        found = {
            "logits": getattr(result, "logits", getattr(result, "prediction_logits", None)),
            "hidden_states": result.hidden_states[-1] if result.hidden_states else None,
            "pooled": getattr(result, "pooler_output", None),
        }
        return {role: _numpy(value) for role, value in found.items() if value is not None}


def choose_reference(bound: BoundSpec, manifest: Manifest, folder: Path) -> tuple[Reference, list[str]]:
    """The transformers class that config.json names, where it is installed and the plan computes what it does.

    Otherwise our torch graph, and a note that says why.
    """
    config = read_folder_config(folder) or {}
    notes: list[str] = []
    kind = _transformers_class(config)
    if kind is not None and not _is_unchanged(bound, manifest, config):
        notes.append(
            f"the plan differs from the checkpoint's config (by --set, or --size), so {kind.__name__} is no reference"
        )
        kind = None
    if kind is not None:
        try:
            return TransformersReference(kind, folder), notes
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            notes.append(f"{kind.__name__} of transformers cannot load this checkpoint: {reason:.300}")
    return TorchReference(bound, manifest, folder, "float32"), notes


def _transformers_class(config: dict[str, Any]) -> Any:
    """The class that `architectures` names, or None where transformers is not installed or has none of that name."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        return None
    try:
        import transformers
    except ImportError:
        return None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    kind = getattr(transformers, names[0], None)
    is_model = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    return kind if is_model and getattr(kind, "config_class", None) is not None else None


def _is_unchanged(bound: BoundSpec, manifest: Manifest, config: dict[str, Any]) -> bool:
    """Whether a plan's architecture is what its family's spec makes of the checkpoint's config."""
    own = load_spec_text(manifest.spec, "the plan's spec")
    try:
        usual = load_spec(detect_spec(config)).bind(config)
    except ArchspecError:
        usual = None
    try:
        if usual is None or usual.family != bound.family:
            usual = own.bind(config)  # a spec of the user's own, which nothing is known to have changed
    except ArchspecError:
        return False
    return _alike(usual, bound)


def _alike(usual: BoundSpec, bound: BoundSpec) -> bool:
    """Whether two specs compute the same."""
    parts = ("topology", "embedding", "layers", "final_norm", "head", "pooler", "ties_encoder")
    if any(getattr(usual, part) != getattr(bound, part) for part in parts):
        return False
    if usual.encoder is None or bound.encoder is None:
        return usual.encoder is bound.encoder
    return _alike(usual.encoder, bound.encoder)


def _tensors(values: Any) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in _tensors(value)]
    return []


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _numpy(value: torch.Tensor) -> Floats:
    array: Floats = value[0].float().numpy()
    return array
