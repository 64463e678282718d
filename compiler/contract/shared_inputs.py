"""Tensors that layers share: masks, rotary tables and score biases, one for each distinct kind, and their readers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.types import TensorType
from archc.plan.dtypes import DTypeName

T = TypeVar("T")

# 1 for a token of the call, 0 for padding.
REAL = TensorType("float32", ("batch", "seq", 1))

FOURIER = "fourier"
"""The cosines and sines of the discrete Fourier transform over the tokens of each row, zero for padding."""

FOURIER_TYPE = TensorType("float32", ("batch", "seq", "seq"))


@dataclass(frozen=True)
class Mask:
    """A kind of mask: causal, or bidirectional; with a window, at most so many keys back, or those of one chunk.

    With a `prefix`, every query attends to all tokens of a causal model's prompt. A model that is `cached` has keys of
    earlier calls.
    """

    causal: bool
    window: int | None
    prefix: bool = False
    cached: bool = True
    chunked: bool = False

    @property
    def name(self) -> str:
        """The name of the graph input."""
        direction = ".past" if self.causal and not self.cached else ""
        limit = "" if self.window is None else f".{'chunk' if self.chunked else 'window'}_{self.window}"
        return f"attn_mask{direction}{limit}"


def mask_type(mask: Mask) -> TensorType:
    """Return bool [batch, 1, seq, total]; without a cache every position is new, so that total is seq."""
    return TensorType("bool", ("batch", 1, "seq", "total" if mask.cached else "seq"))


def is_causal(spec: BoundSpec) -> bool:
    """Return whether a query attends to no key after its own position."""
    return (spec.direction or ("both" if spec.topology == "encoder" else "past")) == "past"


SOURCE_MASK = "source_mask"
"""The name of the mask over the positions of the source, which excludes padding for every query."""

SOURCE_MASK_TYPE = TensorType("bool", ("batch", 1, "seq", "source"))


@dataclass(frozen=True)
class Buckets:
    """Relative position buckets of queries and keys (Raffel et al. 2020; He et al. 2021), for layers of one mask."""

    word: words.RelativeBuckets | words.Disentangled
    both_sides: bool
    mask: str = field(compare=False)  # for its sizes alone, which all masks of a call share

    @property
    def type(self) -> TensorType:
        """Return int64 [batch, seq, total]; without a cache all rows are equal."""
        axes = (1, "seq", "seq") if self.both_sides else ("batch", "seq", "total")
        return TensorType("int64", axes)


@dataclass(frozen=True)
class LayerReads:
    """The names of the shared tensors that one layer reads; None for a kind that it does not read."""

    mask: str | None
    rope: str | None
    alibi: str | None
    query_scale: str | None
    real: str | None = None
    buckets: str | None = None  # for a layer with a bias table of its own
    relative_bias: str | None = None  # for layers that share a bias table
    relative_table: str | None = None  # for layers that project a shared table
    crosses: bool = False
    fourier: bool = False
    rotates_last: bool = False  # the last dims of a head instead of the first
    past_mask: str | None = None  # without the window, for compressed keys


@dataclass
class SharedInputs:
    """The distinct shared tensors of a model by name, and the names that each layer reads."""

    masks: dict[str, Mask] = field(default_factory=dict)
    ropes: dict[str, tuple[words.Rope | words.BlockRope, int]] = field(default_factory=dict)
    alibis: dict[str, tuple[words.Alibi, int, str]] = field(default_factory=dict)
    query_scales: dict[str, words.QueryScale] = field(default_factory=dict)
    buckets: dict[str, Buckets] = field(default_factory=dict)
    relative_biases: dict[str, tuple[str, int]] = field(default_factory=dict)  # buckets and heads
    relative_tables: dict[str, words.Disentangled] = field(default_factory=dict)
    sinusoids: words.Sinusoidal | None = None
    layers: list[LayerReads] = field(default_factory=list)

    @property
    def real(self) -> bool:
        """True if any layer reads which tokens of the call are padding."""
        return any(layer.real for layer in self.layers)

    @property
    def fourier(self) -> bool:
        """True if any layer transforms the tokens of a row."""
        return any(layer.fourier for layer in self.layers)

    @property
    def ntk_scales(self) -> dict[str, TensorType]:
        """The NTK scales that rotary tables have as state, by the table's name."""
        scale = TensorType("float32", ("batch", 1))
        scalings = {name: getattr(rope, "scaling", None) for name, (rope, _) in self.ropes.items()}
        return {name: scale for name, scaling in scalings.items() if isinstance(scaling, words.PromptNtkScaling)}

    @property
    def positions(self) -> bool:
        """True if any shared tensor is computed from positions."""
        ropes = any(isinstance(rope, words.Rope) for rope, _ in self.ropes.values())
        one_sided = any(not buckets.both_sides for buckets in self.buckets.values())
        return bool(self.query_scales) or ropes or one_sided or self.sinusoids is not None

    @property
    def block_positions(self) -> bool:
        """True if any shared tensor is computed from positions in the prompt and in the generated block (GLM)."""
        return any(isinstance(rope, words.BlockRope) for rope, _ in self.ropes.values())

    def types(self, index: int, width: int, dtype: DTypeName) -> dict[str, TensorType]:
        """Return the shared tensors that one layer reads, with their types."""
        reads = self.layers[index]
        types = {reads.mask: mask_type(self.masks[reads.mask])} if reads.mask else {}
        if reads.past_mask:
            types[reads.past_mask] = mask_type(self.masks[reads.past_mask])
        if reads.real:
            types[reads.real] = REAL
        if reads.rope:
            rope, head_dim = self.ropes[reads.rope]
            table = table_type(rope, head_dim, dtype)
            types |= {f"{reads.rope}.cos": table, f"{reads.rope}.sin": table}
        if reads.alibi:
            types[reads.alibi] = self.alibi_type(reads.alibi, dtype)
        if reads.query_scale:
            types[reads.query_scale] = TensorType(dtype, ("batch", 1, "seq", 1))
        if reads.buckets:
            types[reads.buckets] = self.buckets[reads.buckets].type
        if reads.relative_bias:
            types[reads.relative_bias] = self.relative_bias_type(reads.relative_bias, dtype)
        if reads.relative_table:
            types[reads.relative_table] = self.relative_table_type(reads.relative_table, width, dtype)
        if reads.fourier:
            types |= {f"{FOURIER}.cos": FOURIER_TYPE, f"{FOURIER}.sin": FOURIER_TYPE}
        if reads.crosses:
            types[SOURCE_MASK] = SOURCE_MASK_TYPE
        return types

    def alibi_type(self, name: str, dtype: DTypeName) -> TensorType:
        """Return [1, heads, 1, total] for a bias by the positions of keys, or [1, heads, seq, seq] by distances."""
        _, heads, name_of_mask = self.alibis[name]
        mask = self.masks[name_of_mask]
        keys = mask_type(mask).shape[-1]
        return TensorType(dtype, (1, heads, 1 if mask.causal else keys, keys))

    def relative_bias_type(self, name: str, dtype: DTypeName) -> TensorType:
        """Return [batch, heads, seq, total] for a bias that is looked up by buckets."""
        buckets, heads = self.relative_biases[name]
        batch, seq, total = self.buckets[buckets].type.shape
        return TensorType(dtype, (batch, heads, seq, total))

    def relative_table_type(self, name: str, width: int, dtype: DTypeName) -> TensorType:
        """Return [1, rows, width] for a table of relative positions: rows of the keys ahead, then of those behind."""
        return TensorType(dtype, (1, 2 * self.relative_tables[name].span, width))


def _name_of(table: dict[str, T], stem: str, item: T) -> str:
    """Return the name of an item in a table, which it is added to if it is new."""
    for name, known in table.items():
        if known == item:
            return name
    name = f"{stem}.{len(table)}"
    table[name] = item
    return name


def table_type(rope: words.Rope | words.BlockRope, head_dim: int, dtype: DTypeName) -> TensorType:
    """Return the type of cos or sin: an angle for each pair of rotated dims; in blocks, a quarter of the head."""
    if isinstance(rope, words.BlockRope):
        return TensorType(dtype, ("batch", 2, "seq", head_dim // 4))
    return TensorType(dtype, ("batch", "seq", rotary_dim(rope, head_dim) // 2))


def rotary_dim(word: words.Rope, head_dim: int) -> int:
    """Return the number of dims of a head that have an angle, which is 0 for some if the scaling is proportional."""
    if isinstance(word.scaling, words.ProportionalScaling):
        return head_dim
    return word.dim if word.dim is not None else int(head_dim * word.fraction)


def reads_neighbors(layer: words.Layer) -> bool:
    """Return whether a layer reads the tokens around each one, among which padding must count as zeros."""
    of_attention = (getattr(layer.attention, name, None) for name in ("convolution", "span_convolution"))
    return layer.convolution is not None or any(of_attention)


def find_shared_inputs(spec: BoundSpec) -> SharedInputs:
    """Return the distinct masks, rotary tables and biases of a spec's layers."""
    shared = SharedInputs()
    for layer in spec.layers:
        attention, crosses = layer.attention, layer.cross_attention is not None
        # Only a model with a cache reads rows with padding; without one, padding follows all that is read.
        real = "real_tokens" if spec.topology != "encoder" and layer.recurrence is not None else None
        if attention is None:
            fourier = isinstance(layer.mixing, words.FourierMixing)
            shared.layers.append(LayerReads(None, None, None, None, real=real, crosses=crosses, fourier=fourier))
            continue
        window = getattr(attention, "window", None)
        is_cached, chunked = spec.topology != "encoder", getattr(attention, "chunked", False)
        mask = Mask(is_causal(spec), window, spec.prefix is not None, is_cached, chunked)
        shared.masks[mask.name] = mask
        past_mask = None
        if getattr(attention, "compression", None) is not None:
            past_mask = replace(mask, window=None, chunked=False)
            shared.masks[past_mask.name] = past_mask
        real = "real_tokens" if reads_neighbors(layer) else real
        rope = alibi = buckets = relative_bias = relative_table = None
        rotates_last = getattr(layer.position, "part", "first") == "last"
        if isinstance(layer.position, words.Rope | words.BlockRope):
            rope = _name_of(shared.ropes, "rope", (layer.position, attention.rotating_dim))
        elif isinstance(layer.position, words.Alibi):
            # For the mask's last size alone, which all masks of a call share.
            alibi = _name_of(shared.alibis, "alibi", (layer.position, attention.heads, mask.name))
        elif isinstance(layer.position, words.RelativeBuckets):
            both_sides = spec.topology == "encoder"
            buckets = _name_of(shared.buckets, "buckets", Buckets(layer.position, both_sides, mask.name))
            if layer.position.table == "shared":
                relative_bias = _name_of(shared.relative_biases, "relative_bias", (buckets, attention.heads))
                buckets = None
        elif isinstance(layer.position, words.Disentangled):
            buckets = _name_of(shared.buckets, "buckets", Buckets(layer.position, True, mask.name))
            relative_table = _name_of(shared.relative_tables, "relative_table", layer.position)
        elif isinstance(layer.position, words.Sinusoidal):
            shared.sinusoids = layer.position
        word = attention.query_scale
        scale = _name_of(shared.query_scales, "query_scale", word) if word is not None else None
        shared.layers.append(
            LayerReads(
                mask.name,
                rope,
                alibi,
                scale,
                real,
                buckets,
                relative_bias,
                relative_table,
                crosses,
                rotates_last=rotates_last,
                past_mask=past_mask.name if past_mask is not None else None,
            )
        )
    return shared
