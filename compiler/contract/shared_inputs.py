"""Which shared tensors each layer reads: masks, rotary tables and score biases, one for each distinct kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import torch

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.types import TensorType
from archc.compiler.modules.position.rotary import rotary_dim

T = TypeVar("T")

# One for a token of the call, zero for padding.
REAL = TensorType(torch.float32, ("batch", "seq", 1))


@dataclass(frozen=True)
class Mask:
    """What a query may see: `causal`, or every token of its row; at most `window` keys back where one is given.

    With a `prefix`, everybody sees the tokens of a causal model's prompt.
    """

    causal: bool
    window: int | None
    prefix: bool = False

    @property
    def name(self) -> str:
        """The graph input that carries it."""
        return "attn_mask" if self.window is None else f"attn_mask.window_{self.window}"


def mask_type(mask: Mask) -> TensorType:
    """bool [batch, 1, seq, total]; without a cache every position is new, so total is seq."""
    return TensorType(torch.bool, ("batch", 1, "seq", "total" if mask.causal else "seq"))


SOURCE_MASK = "source_mask"
"""The mask over the source's positions: which of them are real, for every query alike."""

SOURCE_MASK_TYPE = TensorType(torch.bool, ("batch", 1, "seq", "source"))


@dataclass(frozen=True)
class Buckets:
    """Buckets of distances between queries and keys, for the layers that read one mask."""

    word: words.RelativeBuckets
    both_sides: bool
    mask: str = field(compare=False)  # it only lends its last sizes; layers with several masks agree on them

    @property
    def type(self) -> TensorType:
        """int64 [batch, seq, total]; without a cache all rows are alike."""
        axes = (1, "seq", "seq") if self.both_sides else ("batch", "seq", "total")
        return TensorType(torch.int64, axes)


@dataclass(frozen=True)
class Wire:
    """The names of the shared tensors that one layer reads."""

    mask: str | None
    rope: str | None
    alibi: str | None
    logn: str | None
    real: str | None = None
    buckets: str | None = None  # where the layer has a table of its own
    relative_bias: str | None = None  # where it shares one
    crosses: bool = False


@dataclass
class Wiring:
    """The distinct shared tensors of a model by name, and each layer's wire."""

    masks: dict[str, Mask] = field(default_factory=dict)
    ropes: dict[str, tuple[words.Rope | words.BlockRope, int]] = field(default_factory=dict)
    alibis: dict[str, tuple[words.Alibi, int, str]] = field(default_factory=dict)
    logns: dict[str, int] = field(default_factory=dict)
    buckets: dict[str, Buckets] = field(default_factory=dict)
    relative_biases: dict[str, tuple[str, int]] = field(default_factory=dict)  # buckets and heads
    sinusoids: words.Sinusoidal | None = None
    wires: list[Wire] = field(default_factory=list)

    @property
    def real(self) -> bool:
        """Whether any layer reads which of the call's tokens are real."""
        return any(wire.real for wire in self.wires)

    @property
    def stretches(self) -> dict[str, TensorType]:
        """What rotary tables keep between calls, by the table's name."""
        kept = TensorType(torch.float32, ("batch", 1))
        scalings = {name: getattr(rope, "scaling", None) for name, (rope, _) in self.ropes.items()}
        return {name: kept for name, scaling in scalings.items() if isinstance(scaling, words.PromptNtkScaling)}

    @property
    def positions(self) -> bool:
        """Whether any shared tensor is computed from positions."""
        ropes = any(isinstance(rope, words.Rope) for rope, _ in self.ropes.values())
        one_sided = any(not buckets.both_sides for buckets in self.buckets.values())
        return bool(self.logns) or ropes or one_sided or self.sinusoids is not None

    @property
    def block_positions(self) -> bool:
        """Whether any shared tensor is computed from places in the text and in the written block."""
        return any(isinstance(rope, words.BlockRope) for rope, _ in self.ropes.values())

    def types(self, index: int, dtype: torch.dtype) -> dict[str, TensorType]:
        """What one layer reads besides the residual stream, and the type of each."""
        wire = self.wires[index]
        types = {wire.mask: mask_type(self.masks[wire.mask])} if wire.mask else {}
        if wire.real:
            types[wire.real] = REAL
        if wire.rope:
            rope, head_dim = self.ropes[wire.rope]
            table = table_type(rope, head_dim, dtype)
            types |= {f"{wire.rope}.cos": table, f"{wire.rope}.sin": table}
        if wire.alibi:
            _, heads, _ = self.alibis[wire.alibi]
            types[wire.alibi] = TensorType(dtype, (1, heads, 1, "total"))
        if wire.logn:
            types[wire.logn] = TensorType(dtype, ("batch", 1, "seq", 1))
        if wire.buckets:
            types[wire.buckets] = self.buckets[wire.buckets].type
        if wire.relative_bias:
            types[wire.relative_bias] = self.relative_bias_type(wire.relative_bias, dtype)
        if wire.crosses:
            types[SOURCE_MASK] = SOURCE_MASK_TYPE
        return types

    def relative_bias_type(self, name: str, dtype: torch.dtype) -> TensorType:
        """[batch, heads, seq, total], of the buckets that it is looked up by."""
        buckets, heads = self.relative_biases[name]
        batch, seq, total = self.buckets[buckets].type.shape
        return TensorType(dtype, (batch, heads, seq, total))


def _name_of(table: dict[str, T], stem: str, item: T) -> str:
    """The name under which a table holds an item, adding it if need be."""
    for name, known in table.items():
        if known == item:
            return name
    name = f"{stem}.{len(table)}"
    table[name] = item
    return name


def table_type(rope: words.Rope | words.BlockRope, head_dim: int, dtype: torch.dtype) -> TensorType:
    """cos or sin of one rotation for each half of the rotating dims, or for each quarter of the head in blocks."""
    if isinstance(rope, words.BlockRope):
        return TensorType(dtype, ("batch", 2, "seq", head_dim // 4))
    return TensorType(dtype, ("batch", "seq", rotary_dim(rope, head_dim) // 2))


def wire(spec: BoundSpec) -> Wiring:
    """Finds the distinct masks, rotary tables and biases that a bound spec's layers need."""
    wiring = Wiring()
    for layer in spec.layers:
        attention, crosses = layer.attention, layer.cross_attention is not None
        if attention is None:
            # Rows are padded only where there is a cache; without one, padding comes after all that is read.
            real = "real_tokens" if spec.topology != "encoder" else None
            wiring.wires.append(Wire(None, None, None, None, real=real, crosses=crosses))
            continue
        mask = Mask(spec.topology != "encoder", getattr(attention, "window", None), spec.prefix is not None)
        wiring.masks[mask.name] = mask
        rope = alibi = buckets = relative_bias = None
        if isinstance(layer.position, words.Rope | words.BlockRope):
            rope = _name_of(wiring.ropes, "rope", (layer.position, attention.rotating_dim))
        elif isinstance(layer.position, words.Alibi):
            # The mask only lends its last size; layers with several masks agree on it.
            alibi = _name_of(wiring.alibis, "alibi", (layer.position, attention.heads, mask.name))
        elif isinstance(layer.position, words.RelativeBuckets):
            both_sides = spec.topology == "encoder"
            buckets = _name_of(wiring.buckets, "buckets", Buckets(layer.position, both_sides, mask.name))
            if layer.position.table == "shared":
                relative_bias = _name_of(wiring.relative_biases, "relative_bias", (buckets, attention.heads))
                buckets = None
        elif isinstance(layer.position, words.Sinusoidal):
            wiring.sinusoids = layer.position
        trained = getattr(attention, "logn", None)
        logn = _name_of(wiring.logns, "logn", trained) if trained else None
        wiring.wires.append(Wire(mask.name, rope, alibi, logn, None, buckets, relative_bias, crosses))
    return wiring
