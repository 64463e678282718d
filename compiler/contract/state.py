"""State of a layer between calls, by name: its kind, which the runtime implements, and its tensor's type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from archc.archspec import vocabulary as words
from archc.compiler.contract.shared_inputs import rotary_dim
from archc.compiler.contract.types import TensorType
from archc.plan.axes import block_axis
from archc.plan.dtypes import DTypeName

if TYPE_CHECKING:
    from torch import Tensor

CROSS_KEY, CROSS_VALUE = "cross.key", "cross.value"
COMPRESSED = "compressed"
INDEXER_KEY, INDEXER_TAIL = "indexer.key", "indexer.tail"
MASK_BIAS = "mask.bias"
MEMORY_TOKENS, MEMORY_INPUT = "memory.tokens", "memory.input"

State: TypeAlias = "Mapping[str, Tensor]"
"""The tensors of a layer's state by name, before or after a call; empty without a cache."""


@dataclass(frozen=True)
class StateType:
    """The kind and type of one state.

    kv: grows by a slot a token, written in place. block: by a slot for each `block` tokens. fixed: replaced by every
    call, zero before the first. cross: computed from the source before the first call, read only.
    """

    kind: Literal["kv", "block", "fixed", "cross"]
    tensor: TensorType
    block: int | None = None


def layer_state(layer: words.Layer, width: int, dtype: DTypeName) -> dict[str, StateType]:
    """Return the state of one layer over a residual stream of that width."""
    states: dict[str, StateType] = {}
    if layer.attention is not None:
        states |= attention_state(layer.attention, width, dtype)
        states |= indexer_state(layer.attention, layer.position, dtype)
        if isinstance(layer.attention, words.GroupedQueryAttention) and layer.attention.compression is not None:
            states |= compressed_state(layer.attention.compression, layer.attention, layer.position, dtype)
    if layer.recurrence is not None:
        states |= recurrence_state(layer.recurrence, width, dtype)
    cross = layer.cross_attention
    if cross is not None:
        source = StateType("cross", TensorType(dtype, ("batch", cross.kv_heads, "source", cross.head_dim)))
        states |= {CROSS_KEY: source, CROSS_VALUE: source}
    if isinstance(layer.mlp, words.ChannelMixing):
        states["mlp.shift"] = fixed(dtype, 1, width)
    memory = layer.ngram_memory
    if memory is not None:
        states[MEMORY_TOKENS] = fixed("int64", memory.order - 1, 1)
        states[MEMORY_INPUT] = fixed(dtype, (memory.kernel - 1) * memory.order, layer.stream_count * width)
    return states


def fixed(dtype: DTypeName, *shape: int) -> StateType:
    """Return a `fixed` state of that shape for each sequence."""
    return StateType("fixed", TensorType(dtype, ("batch", *shape)))


def indexer_state(attention: words.Attention, position: words.Position, dtype: DTypeName) -> dict[str, StateType]:
    """Return the keys of an indexer of its own; for pooled blocks also what the last tokens have in the pooling, each
    with its angles.
    """
    indexer = attention.indexer
    if indexer is None or isinstance(indexer, words.EarlierIndexer):
        return {}
    keys = TensorType(dtype, ("batch", 1, "capacity", indexer.head_dim))
    states = {INDEXER_KEY: StateType("kv", keys)}
    if isinstance(indexer, words.PooledBlockIndexer):
        angles = rotary_dim(position, attention.rotating_dim) if isinstance(position, words.Rope) else 0
        pooled = indexer.head_dim * (1 if isinstance(indexer.pool, words.MeanBlockPool) else 2)
        states[INDEXER_TAIL] = fixed(dtype, indexer.block - 1, pooled + angles)
    return states


def key_name(name: str) -> str:
    """Return the name of the cache of compressed keys."""
    return f"{name}.key"


def tail_name(name: str) -> str:
    """Return the name of the rows of the last tokens, of which a later call makes compressed keys."""
    return f"{name}.tail"


def rows_of_key(word: words.Compression) -> int:
    """Return the number of tokens that a compressed key is a sum over."""
    return word.block * (2 if word.overlap else 1)


def compressed_state(
    word: words.Compression, attention: words.GroupedQueryAttention, position: words.Position, dtype: DTypeName
) -> dict[str, StateType]:
    """Return the compressed keys of attention and of its indexer, each with the rows of the last tokens."""
    angles = rotary_dim(position, attention.rotating_dim) if isinstance(position, words.Rope) else 0
    keys = {COMPRESSED: (attention.kv_heads, attention.head_dim)}
    if word.indexer is not None:
        keys[f"{COMPRESSED}.indexer"] = (1, word.indexer.head_dim)
    states: dict[str, StateType] = {}
    for name, (heads, width) in keys.items():
        slots = TensorType(dtype, ("batch", heads, block_axis(word.block), width))
        states[key_name(name)] = StateType("block", slots, word.block)
        # A key and a weight for each channel, the presence of a token, and its angles.
        inner = heads * width
        row = 4 * inner + 1 + angles if word.overlap else 2 * inner + angles
        states[tail_name(name)] = fixed(dtype, rows_of_key(word) - 1, row)
    return states


def attention_state(attention: words.Attention, width: int, dtype: DTypeName) -> dict[str, StateType]:
    """Return a latent cache, or keys and values and the tails of a localized filter.

    Attention over the keys and values of an earlier layer has none of its own.
    """
    if isinstance(attention, words.LatentAttention):
        if attention.latents_of is not None:
            return {}
        # One key/value head that all query heads share: the latent, and after it the rotating part of the key.
        stored = attention.latent + attention.rope_dim
        return {"latent": StateType("kv", TensorType(dtype, ("batch", 1, "capacity", stored)))}
    if attention.keys_values == "earlier":
        return {}
    widths = {"key": attention.head_dim}
    if attention.values != "rotated-keys":
        widths["value"] = attention.cached_value_width
    states = {
        name: StateType("kv", TensorType(dtype, ("batch", attention.kv_heads, "capacity", width)))
        for name, width in widths.items()
    }
    if attention.dynamic_mask is not None:
        states[MASK_BIAS] = StateType("kv", TensorType(dtype, ("batch", attention.kv_heads, "capacity", 1)))
    if attention.filter is not None:
        # The last input of each of the two convolutions.
        states["filter.input"] = fixed(dtype, 1, width)
        states["filter.inner"] = fixed(dtype, 1, attention.filter.width)
    return states


def recurrence_state(word: words.Recurrence, width: int, dtype: DTypeName) -> dict[str, StateType]:
    """Return the recurrent state, in float32 because errors accumulate, and the inputs that are read again."""
    if isinstance(word, words.SelectiveScan):
        inputs = fixed(dtype, word.kernel - 1, word.width)
        return {"recurrence.input": inputs, "recurrence.state": fixed("float32", word.state, word.width)}
    if isinstance(word, words.ShortConvolution):
        return {"recurrence.input": fixed(dtype, word.convolution.kernel - 1, word.width)}
    if isinstance(word, words.RgLru):
        inputs = fixed(dtype, word.convolution.kernel - 1, word.width)
        begun = fixed(dtype, 1, 1)  # 1 after the first token
        state = fixed("float32", 1, word.width)
        return {"recurrence.input": inputs, "recurrence.begun": begun, "recurrence.state": state}
    if isinstance(word, words.MatrixState):
        matrices = {"recurrence.state": fixed("float32", word.heads, word.key_dim, word.value_dim)}
        if word.convolution is None:
            return matrices
        return {"recurrence.input": fixed(dtype, word.convolution.kernel - 1, 2 * word.keys + word.values), **matrices}
    states = {"recurrence.shift": fixed(dtype, 1, width)}
    if isinstance(word, words.DecayedAverage):
        return {**states, "recurrence.state": fixed("float32", 3, word.width)}
    return {**states, "recurrence.state": fixed("float32", word.heads, word.head_dim, word.head_dim)}
