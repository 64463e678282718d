"""What a graph takes and gives: its inputs, outputs and state, in the words of the plan's manifest."""

from __future__ import annotations

import torch
from msgspec import convert

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.shared_inputs import SOURCE_MASK, SOURCE_MASK_TYPE, Wiring, mask_type
from archc.compiler.contract.state import CROSS_KEY, CROSS_VALUE, StateType, layer_state
from archc.compiler.contract.types import TensorType
from archc.plan import manifest

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NAMES = {**{dtype: name for name, dtype in DTYPES.items()}, torch.int64: "int64", torch.bool: "bool"}

TOKENS = TensorType(torch.int64, ("batch", "seq"))
BLOCKS = TensorType(torch.int64, ("batch", 2, "seq"))
ROWS = TensorType(torch.int64, ("batch",))
ASKED = TensorType(torch.int64, ("batch", "asked"))


def has_cache(spec: BoundSpec) -> bool:
    """Whether layers keep keys and values between calls."""
    return spec.topology != "encoder"


def has_positions(spec: BoundSpec, wiring: Wiring) -> bool:
    """Whether layers keep slots by position, so that a call must say where it writes."""
    growing = any(layer.attention is not None for layer in spec.layers)
    return has_cache(spec) and (growing or bool(wiring.stretches))


def layer_states(spec: BoundSpec, index: int, dtype: torch.dtype) -> dict[str, StateType]:
    """What one layer keeps between calls, by the component's names for it; nothing without a cache."""
    return layer_state(spec.layers[index], spec.embedding.width, dtype) if has_cache(spec) else {}


def past_name(index: int, name: str) -> str:
    """The graph input of one of a layer's states."""
    if name in (CROSS_KEY, CROSS_VALUE):
        return cross_name(index, name)
    return f"past_key_values.{index}.{name}"


def cross_name(index: int, name: str) -> str:
    """What a layer keeps of the source: the encoder's graph gives it, and the decoder's reads it."""
    return f"cross_key_values.{index}.{name.removeprefix('cross.')}"


def present_name(index: int, name: str) -> str:
    """The graph output of one of a layer's states."""
    return f"present.{index}.{name}"


def past_stretch(table: str) -> str:
    """The graph input of what a rotary table keeps."""
    return f"past_stretch.{table}"


def present_stretch(table: str) -> str:
    """The graph output of what a rotary table keeps."""
    return f"present_stretch.{table}"


def needs_lengths(spec: BoundSpec) -> bool:
    """Whether a layer's state depends on how many of a row's new tokens are real."""
    return has_cache(spec) and any(layer_needs_lengths(layer) for layer in spec.layers)


def layer_needs_lengths(layer: words.Layer) -> bool:
    """Whether a layer has a state that is no cache: padding must not get into it."""
    filtered = getattr(layer.attention, "filter", None) is not None
    return filtered or layer.recurrence is not None or isinstance(layer.mlp, words.ChannelMixing)


def _tensor(kind: TensorType) -> dict[str, object]:
    return {"dtype": _NAMES[kind.dtype], "shape": list(kind.shape)}


def graph_inputs(spec: BoundSpec, wiring: Wiring) -> list[manifest.Input]:
    """The call's inputs, state left out; an input that no part reads is not there."""

    def entry(name: str, role: str, kind: TensorType, mask: manifest.Mask | None = None) -> manifest.Input:
        return convert({"name": name, "role": role, "mask": mask, **_tensor(kind)}, manifest.Input)

    inputs = [entry("input_ids", "token_ids", TOKENS)]
    if wiring.positions or isinstance(spec.layers[0].position, words.Learned):
        inputs.append(entry("position_ids", "positions", TOKENS))
    if wiring.block_positions:
        inputs.append(entry("block_position_ids", "block_positions", BLOCKS))
    if spec.embedding.token_types:
        inputs.append(entry("token_type_ids", "token_types", TOKENS))
    for name, mask in wiring.masks.items():
        kind = "prefix" if mask.prefix else "causal" if mask.causal else "bidirectional"
        described = convert({"kind": kind, "window": mask.window}, manifest.Mask)
        inputs.append(entry(name, "mask", mask_type(mask), described))
    if spec.encoder is not None:
        source = manifest.Mask(kind="source")
        inputs.append(entry(SOURCE_MASK, "mask", SOURCE_MASK_TYPE, source))
    if has_positions(spec, wiring):
        inputs.append(entry("write_indices", "write_indices", ROWS))
    if needs_lengths(spec):
        inputs.append(entry("lengths", "lengths", ROWS))
    if not isinstance(spec.head, words.NoHead):
        inputs.append(entry("logit_positions", "logit_positions", ASKED))
    return inputs


def graph_outputs(spec: BoundSpec, dtype: torch.dtype) -> list[manifest.Output]:
    """The call's results, state left out."""

    def entry(role: str, *shape: int | str) -> manifest.Output:
        return convert({"name": role, "role": role, **_tensor(TensorType(dtype, shape))}, manifest.Output)

    outputs = []
    if not isinstance(spec.head, words.NoHead):
        outputs.append(entry("logits", "batch", "asked", spec.embedding.vocab))
    if spec.topology == "encoder":
        outputs.append(entry("hidden_states", "batch", "seq", spec.embedding.width))
    if not isinstance(spec.pooler, words.NoPooler):
        outputs.append(entry("pooled", "batch", spec.embedding.width))
    return outputs


def encoder_outputs(spec: BoundSpec, dtype: torch.dtype) -> list[manifest.Output]:
    """What the encoder's graph gives: its hidden states, and what each of the decoder's layers keeps of them."""
    assert spec.encoder is not None
    crossed = [
        convert({"name": past_name(index, name), "role": "cross", **_tensor(of_source(state))}, manifest.Output)
        for index in range(len(spec.layers))
        for name, state in layer_states(spec, index, dtype).items()
        if state.kind == "cross"
    ]
    return [*graph_outputs(spec.encoder, dtype), *crossed]


def of_source(state: StateType) -> TensorType:
    """A state of the kind `cross` as the encoder's graph names its axes."""
    return TensorType(state.tensor.dtype, tuple("seq" if axis == "source" else axis for axis in state.tensor.shape))


def graph_state(spec: BoundSpec, wiring: Wiring, dtype: torch.dtype) -> list[manifest.State]:
    """What the rotary tables keep, and every layer's state."""
    stretches = wiring.stretches if has_cache(spec) else {}
    return [
        convert(
            {"kind": "fixed", "input": past_stretch(name), "output": present_stretch(name), **_tensor(kind)},
            manifest.State,
        )
        for name, kind in stretches.items()
    ] + [
        convert(
            {
                "kind": state.kind,
                "input": past_name(index, name),
                "output": None if state.kind == "cross" else present_name(index, name),
                **_tensor(state.tensor),
            },
            manifest.State,
        )
        for index in range(len(spec.layers))
        for name, state in layer_states(spec, index, dtype).items()
    ]
