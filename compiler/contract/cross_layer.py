"""Tensors that a layer reads from earlier parts of the model in addition to the residual stream."""

from __future__ import annotations

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.inputs_outputs import has_cache, present_name
from archc.compiler.contract.types import TensorType
from archc.plan.dtypes import DTypeName

VALUES = "values"
"""The values of a delta rule, which later layers mix into their own (Peng et al. 2025, section 4.1)."""

SHORTCUT = "shortcut"
"""The output of shortcut-connected experts, which the next layer adds (Cai et al. 2024)."""

EMBEDDING = "embedding"
"""The vector of a layer that the embedding computes."""

EMBEDDED = "embedded"
"""The output of the embedding, which front blocks read next to the residual stream."""

EMBEDDING_OUTPUT = "embedding.output"
"""The name in the graph of the output of the embedding."""

SELECTED = "selected"
"""The keys that an indexer selected, a mask which later layers read."""

KEY, VALUE = "key", "value"
"""The keys and values that attention of an earlier layer reads, with its cache."""


LATENT = "latent"
"""The latents that attention of an earlier layer reads, with its cache."""


def layer_output(index: int, name: str) -> str:
    """Return the name in the graph of a tensor that a layer passes on."""
    return f"layers.{index}.{name}"


def embedding_output(index: int) -> str:
    """Return the name in the graph of the embedding's vector for a layer."""
    return f"embedding.layers.{index}"


def embedding_outputs(spec: BoundSpec, dtype: DTypeName) -> dict[str, TensorType]:
    """Return the embedding's vectors for layers by their names in the graph, [batch, seq, width] each."""
    word = spec.embedding.per_layer
    if word is None:
        return {}
    return {
        embedding_output(index): TensorType(dtype, ("batch", "seq", word.width)) for index in range(len(spec.layers))
    }


def cross_layer_outputs(spec: BoundSpec, index: int, dtype: DTypeName) -> dict[str, TensorType]:
    """Return the tensors that a layer passes on, with their types; a cache is an output of the layer anyway."""
    layer = spec.layers[index]
    match layer.recurrence:
        case words.DeltaRule(value_residual=words.ValueSource(), heads=heads, head_dim=width):
            return {VALUES: TensorType(dtype, ("batch", "seq", heads * width))}
    attention = layer.attention
    outputs: dict[str, TensorType] = {}
    if layer.shortcut is not None:
        outputs[SHORTCUT] = TensorType(dtype, ("batch", "seq", spec.embedding.width))
    if index in words.indexer_sources(spec.layers).values():
        assert attention is not None
        heads = attention.heads if isinstance(attention.indexer, words.BlockIndexer) else 1
        outputs[SELECTED] = TensorType("bool", ("batch", heads, "seq", "total" if has_cache(spec) else "seq"))
    if has_cache(spec) or index not in words.kv_sources(spec.layers).values():
        return outputs
    if isinstance(attention, words.LatentAttention):
        return outputs | {LATENT: TensorType(dtype, ("batch", 1, "seq", attention.latent + attention.rope_dim))}
    assert isinstance(attention, words.GroupedQueryAttention)
    widths = {KEY: attention.head_dim, VALUE: attention.cached_value_width}
    return outputs | {
        name: TensorType(dtype, ("batch", attention.kv_heads, "seq", width)) for name, width in widths.items()
    }


def cross_layer_inputs(spec: BoundSpec, index: int) -> dict[str, str]:
    """Return the tensors of earlier parts that a layer reads: their names in the graph by the component's names."""
    inputs: dict[str, str] = {}
    layer = spec.layers[index]
    if layer.embedding_branch is not None:
        inputs[EMBEDDING] = embedding_output(index)
    if layer.front is not None:
        inputs[EMBEDDED] = EMBEDDING_OUTPUT
    if layer.adds_shortcut:
        inputs[SHORTCUT] = layer_output(index - 1, SHORTCUT)
    match layer.recurrence:
        case words.DeltaRule(value_residual=words.ValueMix()):
            inputs[VALUES] = layer_output(_latest_values(spec, index), VALUES)
    source = words.kv_sources(spec.layers).get(index)
    if source is not None:
        name = present_name if has_cache(spec) else layer_output
        kinds = (LATENT,) if isinstance(layer.attention, words.LatentAttention) else (KEY, VALUE)
        inputs |= {kind: name(source, kind) for kind in kinds}
    selecting = words.indexer_sources(spec.layers).get(index)
    if selecting is not None:
        inputs[SELECTED] = layer_output(selecting, SELECTED)
    return inputs


def _latest_values(spec: BoundSpec, index: int) -> int:
    """Return the last layer before `index` whose values later layers read."""
    return max(
        earlier
        for earlier, layer in enumerate(spec.layers[:index])
        if isinstance(getattr(layer.recurrence, "value_residual", None), words.ValueSource)
    )
