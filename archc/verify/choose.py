"""The choice of a reference: the checkpoint's transformers class if it computes the same, else archc's torch graph."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from archc.archspec import ArchspecError, BoundSpec, load_spec, load_spec_text
from archc.compiler.build import detect_family
from archc.compiler.weights.checkpoint.adapters import AdapterOption
from archc.compiler.weights.checkpoint.containers import open_weights, read_checkpoint_config
from archc.compiler.weights.checkpoint.safetensors import SafetensorsWeights
from archc.compiler.weights.checkpoint.sentence_modules import MODULES
from archc.compiler.weights.packings.detect import unpack
from archc.compiler.weights.packings.packing import PackedWeights
from archc.plan import Manifest
from archc.verify.references import Reference
from archc.verify.torch_reference import TorchReference
from archc.verify.transformers_reference import TransformersReference, find_class


def choose_reference(
    bound: BoundSpec,
    manifest: Manifest,
    folder: Path,
    ignore_config: Sequence[str] = (),
    adapters: Sequence[AdapterOption] = (),
) -> tuple[Reference, list[str]]:
    """Return the transformers class that config.json names, if it is installed and computes what the plan does.

    Otherwise, and for a checkpoint with adapters, return archc's torch graph in float32, and a note with the reason.
    """
    if adapters:
        note = "the adapters are merged by archc, so a transformers class is not the reference"
        return TorchReference(bound, manifest, folder, "float32", adapters), [note]
    config = read_checkpoint_config(folder) or {}
    notes: list[str] = []
    model_class = find_class(config)
    if find_spec("transformers") is None:
        notes.append(
            "transformers is not installed, so archc is compared with its own torch graph; for an independent "
            "reference, pip install transformers"
        )
    if model_class is not None and not _is_unchanged(bound, manifest, folder, config, ignore_config):
        ways = f"{MODULES}, --set, or --size" if (folder / MODULES).is_file() else "--set, or --size"
        notes.append(
            f"the plan differs from the checkpoint's config (by {ways}), so {model_class.__name__} of transformers is "
            "not a reference for it"
        )
        model_class = None
    if model_class is not None:
        try:
            weights = unpack(open_weights(folder), folder)
            if isinstance(weights, PackedWeights) and weights.packing == "MXFP4":
                notes.append("the checkpoint's weights are stored quantized (MXFP4); transformers dequantizes them")
                return TransformersReference(model_class, folder, dequantize=True), notes
            if isinstance(weights, PackedWeights):
                notes.append(
                    f"the checkpoint's weights are stored quantized ({weights.packing}); the reference has them as "
                    "archc widens them, because transformers has no float32 product with them on a CPU"
                )
                return TransformersReference(model_class, folder, weights), notes
            if not isinstance(weights, SafetensorsWeights):
                notes.append("the weights are not in safetensors; the reference has them as archc reads them")
                return TransformersReference(model_class, folder, weights), notes
            return TransformersReference(model_class, folder), notes
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            notes.append(f"{model_class.__name__} of transformers cannot load this checkpoint: {reason:.300}")
    return TorchReference(bound, manifest, folder, "float32"), notes


def _is_unchanged(
    bound: BoundSpec, manifest: Manifest, folder: Path, config: dict[str, Any], ignore_config: Sequence[str]
) -> bool:
    """Return whether the plan's spec is what its family's spec is for the checkpoint's config."""
    own = load_spec_text(manifest.spec, "the plan's spec")
    try:
        shipped = load_spec(detect_family(folder, config)).bind(config, ignore_config=ignore_config)
    except ArchspecError:
        shipped = None
    try:
        if shipped is None or shipped.family != bound.family:
            # A user's own spec, without an original to compare with.
            shipped = own.bind(config, ignore_config=ignore_config)
    except ArchspecError:
        return False
    return _is_equal(shipped, bound)


def _is_equal(first: BoundSpec, second: BoundSpec) -> bool:
    """Return whether two specs compute the same."""
    parts = ("topology", "direction", "embedding", "layers", "final_norm", "head", "pooler", "ties_encoder")
    if any(getattr(first, part) != getattr(second, part) for part in parts):
        return False
    if first.encoder is None or second.encoder is None:
        return first.encoder is second.encoder
    return _is_equal(first.encoder, second.encoder)
