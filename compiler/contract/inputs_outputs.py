"""Inputs, outputs and state of a model's graphs, as records of the plan's manifest."""

from __future__ import annotations

from msgspec import convert

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.shared_inputs import (
    SOURCE_MASK,
    SOURCE_MASK_TYPE,
    SharedInputs,
    mask_type,
    reads_neighbors,
)
from archc.compiler.contract.state import CROSS_KEY, CROSS_VALUE, StateType, layer_state
from archc.compiler.contract.types import TensorType
from archc.plan import records
from archc.plan.dtypes import DTypeName

TOKENS = TensorType("int64", ("batch", "seq"))
BLOCKS = TensorType("int64", ("batch", 2, "seq"))
ROWS = TensorType("int64", ("batch",))
ASKED = TensorType("int64", ("batch", "asked"))


def has_cache(spec: BoundSpec) -> bool:
    """Return whether layers have state between calls."""
    return spec.topology != "encoder"


def has_positions(spec: BoundSpec, shared: SharedInputs) -> bool:
    """Return whether a call needs the position that it writes its first entry to."""
    growing = any(layer.attention is not None for layer in spec.layers)
    return has_cache(spec) and (growing or bool(shared.ntk_scales))


def layer_states(spec: BoundSpec, index: int, dtype: DTypeName) -> dict[str, StateType]:
    """Return the state of one layer by the component's names; empty without a cache."""
    return layer_state(spec.layers[index], spec.embedding.width, dtype) if has_cache(spec) else {}


def past_name(index: int, name: str) -> str:
    """Return the name of the graph input of one of a layer's states."""
    if name in (CROSS_KEY, CROSS_VALUE):
        return cross_name(index, name)
    return f"past_key_values.{index}.{name}"


def cross_name(index: int, name: str) -> str:
    """Return the name of a layer's keys or values of the source: an output of the encoder, an input of the decoder."""
    return f"cross_key_values.{index}.{name.removeprefix('cross.')}"


def present_name(index: int, name: str) -> str:
    """Return the name of the graph output of one of a layer's states."""
    return f"present.{index}.{name}"


def past_ntk_scale(table: str) -> str:
    """Return the name of the graph input of a rotary table's NTK scale."""
    return f"past_stretch.{table}"


def present_ntk_scale(table: str) -> str:
    """Return the name of the graph output of a rotary table's NTK scale."""
    return f"present_stretch.{table}"


def needs_lengths(spec: BoundSpec) -> bool:
    """Return whether a result depends on the number of tokens in a row of the call, without padding."""
    stateful = has_cache(spec) and any(layer_needs_lengths(layer) for layer in spec.layers)
    return stateful or pools_tokens(spec) or reads_padding(spec)


def learned_positions(spec: BoundSpec) -> words.Learned | words.AddedPositions | None:
    """Return the word of learned positions, or None if the embedding adds none."""
    position = spec.layers[0].position
    return position if isinstance(position, words.Learned) else spec.embedding.positions


def reads_padding(spec: BoundSpec) -> bool:
    """Return whether an encoder computes with the lengths of rows elsewhere than in its masks."""
    mixed = any(isinstance(layer.mixing, words.FourierMixing) or reads_neighbors(layer) for layer in spec.layers)
    return spec.topology == "encoder" and (mixed or spec.embedding.token_dropout is not None)


def pools_tokens(spec: BoundSpec) -> bool:
    """Return whether an output depends on which tokens of a row are padding."""
    return any(kind not in ("cls", None) for kind in _poolings(spec))


def pools_by_ids(spec: BoundSpec) -> bool:
    """Return whether an output depends on where a token is in its row."""
    return not {"eos", "highest"}.isdisjoint(_poolings(spec))


def _poolings(spec: BoundSpec) -> list[str | None]:
    """Return the kinds of pooling of the head and the pooler."""
    pooled = spec.pooler.kind if isinstance(spec.pooler, words.Pooling) else None
    return [pooled, spec.head.pool if isinstance(spec.head, words.ClassesHead) else None]


def predicts_tokens(spec: BoundSpec) -> bool:
    """Return whether the head computes logits of the vocabulary, at the positions that a call requests."""
    return isinstance(spec.head, words.LmHead | words.MlmHead)


def layer_needs_lengths(layer: words.Layer) -> bool:
    """Return whether a layer has a state other than a KV cache, which padding must not change."""
    attention = layer.attention
    filtered = getattr(attention, "filter", None) is not None
    pools = attention is not None and isinstance(attention.indexer, words.PooledBlockIndexer)
    compresses = getattr(attention, "compression", None) is not None
    mixes = layer.recurrence is not None or isinstance(layer.mlp, words.ChannelMixing)
    return filtered or pools or compresses or mixes or layer.ngram_memory is not None


def layer_reads_ids(layer: words.Layer) -> bool:
    """Return whether a layer reads the ids of the tokens: for its memory of n-grams, or to select their experts."""
    mixtures = (mlp for mlp in (layer.mlp, layer.shortcut) if isinstance(mlp, words.MoeMlp))
    return layer.ngram_memory is not None or any(mlp.router.selection == "tokens" for mlp in mixtures)


def _tensor(kind: TensorType) -> dict[str, object]:
    return {"dtype": kind.dtype, "shape": list(kind.shape)}


def graph_inputs(spec: BoundSpec, shared: SharedInputs) -> list[records.Input]:
    """Return the inputs of a call without the state; an input that no part reads is left out."""

    def entry(name: str, role: str, kind: TensorType, mask: records.Mask | None = None) -> records.Input:
        return convert({"name": name, "role": role, "mask": mask, **_tensor(kind)}, records.Input)

    inputs = [entry("input_ids", "token_ids", TOKENS)]
    if shared.positions or learned_positions(spec) is not None:
        inputs.append(entry("position_ids", "positions", TOKENS))
    if shared.block_positions:
        inputs.append(entry("block_position_ids", "block_positions", BLOCKS))
    if spec.embedding.token_types:
        inputs.append(entry("token_type_ids", "token_types", TOKENS))
    for name, mask in shared.masks.items():
        kind = "prefix" if mask.prefix else "causal" if mask.causal else "bidirectional"
        described = convert({"kind": kind, "window": mask.window, "chunked": mask.chunked}, records.Mask)
        inputs.append(entry(name, "mask", mask_type(mask), described))
    if spec.encoder is not None:
        source = records.Mask(kind="source")
        inputs.append(entry(SOURCE_MASK, "mask", SOURCE_MASK_TYPE, source))
    if has_positions(spec, shared):
        inputs.append(entry("write_indices", "write_indices", ROWS))
    if needs_lengths(spec):
        inputs.append(entry("lengths", "lengths", ROWS))
    if predicts_tokens(spec):
        inputs.append(entry("logit_positions", "logit_positions", ASKED))
    return inputs


def graph_outputs(spec: BoundSpec, dtype: DTypeName) -> list[records.Output]:
    """Return the outputs of a call without the state."""

    def entry(role: str, *shape: int | str) -> records.Output:
        return convert({"name": role, "role": role, **_tensor(TensorType(dtype, shape))}, records.Output)

    outputs = []
    if predicts_tokens(spec):
        outputs.append(entry("logits", "batch", "asked", spec.embedding.vocab))
    if isinstance(spec.head, words.ClassesHead):
        axes = ("batch",) if spec.head.per == "sequence" else ("batch", "seq")
        outputs.append(entry("classes", *axes, spec.head.labels))
    if spec.topology == "encoder":
        outputs.append(entry("hidden_states", "batch", "seq", hidden_width(spec)))
    if not isinstance(spec.pooler, words.NoPooler):
        outputs.append(entry("pooled", "batch", pooled_width(spec)))
    return outputs


def hidden_width(spec: BoundSpec) -> int:
    """Return the width of the hidden states of tokens, or of the vectors in place of them."""
    return spec.head.width if isinstance(spec.head, words.VectorHead) else spec.embedding.width


def pooled_width(spec: BoundSpec) -> int:
    """Return the width of the pooled output: that of its dense projection, or else of the hidden states."""
    dense = spec.pooler.dense if isinstance(spec.pooler, words.Pooling) else None
    if dense is None:
        return hidden_width(spec)
    return dense.then.width if dense.then is not None else dense.width


def encoder_outputs(spec: BoundSpec, dtype: DTypeName) -> list[records.Output]:
    """Return the outputs of the encoder's graph: hidden states, keys and values for each of the decoder's layers."""
    assert spec.encoder is not None
    crossed = [
        convert({"name": past_name(index, name), "role": "cross", **_tensor(source_type(state))}, records.Output)
        for index in range(len(spec.layers))
        for name, state in layer_states(spec, index, dtype).items()
        if state.kind == "cross"
    ]
    return [*graph_outputs(spec.encoder, dtype), *crossed]


def source_type(state: StateType) -> TensorType:
    """Return the type of a `cross` state in the encoder's graph, where the source is the call's own sequence."""
    return TensorType(state.tensor.dtype, tuple("seq" if axis == "source" else axis for axis in state.tensor.shape))


def graph_state(spec: BoundSpec, shared: SharedInputs, dtype: DTypeName) -> list[records.State]:
    """Return the state of rotary tables and of every layer."""
    ntk_scales = shared.ntk_scales if has_cache(spec) else {}
    return [
        convert(
            {"kind": "fixed", "input": past_ntk_scale(name), "output": present_ntk_scale(name), **_tensor(kind)},
            records.State,
        )
        for name, kind in ntk_scales.items()
    ] + [
        convert(
            {
                "kind": state.kind,
                "block": state.block,
                "input": past_name(index, name),
                "output": None if state.kind == "cross" else present_name(index, name),
                **_tensor(state.tensor),
            },
            records.State,
        )
        for index in range(len(spec.layers))
        for name, state in layer_states(spec, index, dtype).items()
    ]
