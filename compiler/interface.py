"""What a graph takes and gives: its inputs, outputs and state, in the words of the plan's manifest."""

from __future__ import annotations

import torch

from archspec import vocabulary as words
from archspec.binding import BoundSpec
from compiler.tensors import TensorType
from compiler.wiring import mask_type, wire
from runtime.plan import manifest

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NAMES = {**{dtype: name for name, dtype in DTYPES.items()}, torch.int64: "int64", torch.bool: "bool"}

TOKENS = TensorType(torch.int64, ("batch", "seq"))
ROWS = TensorType(torch.int64, ("batch",))
ASKED = TensorType(torch.int64, ("batch", "asked"))


def cache_type(layer: words.Layer, dtype: torch.dtype) -> TensorType:
    """One of a layer's two caches: [batch, kv_heads, capacity, head_dim]."""
    return TensorType(dtype, ("batch", layer.attention.kv_heads, "capacity", layer.attention.head_dim))


def has_cache(spec: BoundSpec) -> bool:
    """Whether layers keep keys and values between calls."""
    return spec.topology == "decoder"


def past_names(index: int) -> tuple[str, str]:
    """The graph inputs of one layer's cache."""
    return f"past_key_values.{index}.key", f"past_key_values.{index}.value"


def present_names(index: int) -> tuple[str, str]:
    """The graph outputs of one layer's cache, to be bound to the same memory."""
    return f"present.{index}.key", f"present.{index}.value"


def _tensor(kind: TensorType) -> dict[str, object]:
    return {"dtype": _NAMES[kind.dtype], "shape": list(kind.shape)}


def graph_inputs(spec: BoundSpec) -> list[manifest.Input]:
    """The call's inputs, state left out; an input that no part reads is not there."""
    wiring = wire(spec)

    def entry(name: str, role: str, kind: TensorType, mask: manifest.Mask | None = None) -> manifest.Input:
        return manifest.Input.model_validate({"name": name, "role": role, "mask": mask, **_tensor(kind)})

    inputs = [entry("input_ids", "token_ids", TOKENS)]
    if wiring.positions or isinstance(spec.layers[0].position, words.Learned):
        inputs.append(entry("position_ids", "positions", TOKENS))
    if spec.embedding.token_types:
        inputs.append(entry("token_type_ids", "token_types", TOKENS))
    for name, mask in wiring.masks.items():
        kind = "causal" if mask.causal else "bidirectional"
        inputs.append(entry(name, "mask", mask_type(mask), manifest.Mask(kind=kind, window=mask.window)))
    if has_cache(spec):
        inputs.append(entry("write_indices", "write_indices", ROWS))
    if not isinstance(spec.head, words.NoHead):
        inputs.append(entry("logit_positions", "logit_positions", ASKED))
    return inputs


def graph_outputs(spec: BoundSpec, dtype: torch.dtype) -> list[manifest.Output]:
    """The call's results, state left out."""

    def entry(role: str, *shape: int | str) -> manifest.Output:
        return manifest.Output.model_validate({"name": role, "role": role, **_tensor(TensorType(dtype, shape))})

    outputs = []
    if not isinstance(spec.head, words.NoHead):
        outputs.append(entry("logits", "batch", "asked", spec.embedding.vocab))
    if spec.topology == "encoder":
        outputs.append(entry("hidden_states", "batch", "seq", spec.embedding.width))
    if not isinstance(spec.pooler, words.NoPooler):
        outputs.append(entry("pooled", "batch", spec.embedding.width))
    return outputs


def graph_state(spec: BoundSpec, dtype: torch.dtype) -> list[manifest.State]:
    """Every layer's keys and values, where the topology has a cache."""
    if not has_cache(spec):
        return []
    return [
        manifest.State.model_validate({"kind": "kv", "input": past, "output": present, **_tensor(kind)})
        for index, layer in enumerate(spec.layers)
        for kind in [cache_type(layer, dtype)]
        for past, present in zip(past_names(index), present_names(index), strict=True)
    ]
