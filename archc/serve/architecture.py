"""The architecture of a plan, as its manifest has it: layers, their attention and state, sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec import to_builtins

from archc.plan.manifest import Manifest
from archc.plan.records import State, Tensor
from archc.plan.state_bytes import state_bytes

_TENSOR = re.compile(r"(?P<encoder>encoder\.)?layers\.(?P<layer>\d+)\.(?P<part>\w+)")
_STATE = re.compile(r"\w+\.(?P<layer>\d+)\.(?P<name>.+)")
_KEYS_AND_VALUES = {"key", "value"}


def architecture(manifest: Manifest) -> dict[str, Any]:
    """Return the layers of a plan and its sizes, as JSON; bytes are those of one sequence, or of stored weights."""
    held = state_bytes(manifest.state, manifest.limits.max_call)
    is_encoder = manifest.topology == "encoder"
    masks = [item.mask for item in manifest.inputs if item.mask is not None]
    return {
        "layers": _layers(manifest, "", is_encoder),
        "encoder_layers": _layers(manifest, "encoder.", True) if manifest.encoder is not None else None,
        "masks": [{"kind": mask.kind, "window": mask.window} for mask in masks],
        "outputs": [output.role for output in manifest.outputs],
        "config": manifest.config,
        "weight_bytes": sum(tensor.bytes for tensor in manifest.tensors),
        "other_bytes": _bytes_by_part(tensor for tensor in manifest.tensors if not _TENSOR.match(tensor.name)),
        "state_bytes_per_token": held.per_token,
        "state_bytes_per_source_token": held.per_source_token,
        "state_bytes_fixed": held.fixed,
        "flops_per_token": manifest.flops_per_token,
    }


def _layers(manifest: Manifest, prefix: str, is_encoder: bool) -> list[dict[str, Any]]:
    """Return the layers in order: kind of mixer, bytes of weights by part, and state."""
    tensors: dict[int, list[Tensor]] = {}
    for tensor in manifest.tensors:
        match = _TENSOR.match(tensor.name)
        if match is not None and (match["encoder"] or "") == prefix:
            tensors.setdefault(int(match["layer"]), []).append(tensor)
    states: dict[int, dict[str, State]] = {}
    for state in manifest.state if not prefix else ():
        if (match := _STATE.fullmatch(state.input)) is not None:
            states.setdefault(int(match["layer"]), {})[match["name"]] = state
    layers = []
    for index in sorted(tensors.keys() | states.keys()):
        held = states.get(index, {})
        parts = _bytes_by_part(tensors.get(index, ()))
        layers.append(
            {
                "mixer": _mixer(held, parts, is_encoder),
                "window": next((state.window for state in held.values() if state.window is not None), None),
                "bytes": parts,
                "state": [
                    {"name": name, "kind": state.kind, "dtype": state.dtype, "shape": to_builtins(state.shape)}
                    for name, state in held.items()
                ],
            }
        )
    return layers


def _mixer(states: dict[str, State], parts: dict[str, int], is_encoder: bool) -> str:
    """Return the kind of a layer's mixer of tokens, by its state; an encoder has none."""
    kinds = {state.kind for state in states.values()}
    if "ring" in kinds:
        return "sliding-window attention"
    if "kv" in kinds:
        names = {name for name, state in states.items() if state.kind == "kv"}
        return "attention" if names >= _KEYS_AND_VALUES else "latent attention"
    if "fixed" in kinds:
        return "recurrence"
    return "bidirectional attention" if is_encoder and "attention" in parts else "other"


def _bytes_by_part(tensors: Iterable[Tensor]) -> dict[str, int]:
    """Return the bytes of weights by the first word of their names, inside of a layer by the first one there."""
    sums: dict[str, int] = {}
    for tensor in tensors:
        match = _TENSOR.match(tensor.name)
        part = match["part"] if match is not None else tensor.name.partition(".")[0]
        sums[part] = sums.get(part, 0) + tensor.bytes
    return sums
