"""Records of manifest.json: inputs, outputs and state of a graph, weights, limits, and what each graph has of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta

from archc.plan.dtypes import DTYPES, DTypeName
from archc.plan.engine_section import Engine, Name, Section

Size = Annotated[int, Meta(ge=0, le=2**48)]
Dim = Annotated[int, Meta(ge=1, le=2**40)] | Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
Shape = tuple[Dim, ...]
InputRole = Literal[
    "token_ids", "positions", "write_indices", "lengths", "block_positions", "mask", "logit_positions", "token_types"
]
OutputRole = Literal["logits", "classes", "hidden_states", "pooled", "cross", "next_token", "next_logit"]


class Mask(Section, frozen=True):
    """The keys that are visible to a query.

    `causal`: up to its own position; `prefix`: causal, and the whole prompt; `bidirectional`: its row; `source`: the
    encoder's tokens. A `window` limits the distance, or is the size of chunks if `chunked`. With `ring`, the keys are
    the slots of that window's ring buffers.
    """

    kind: Literal["causal", "prefix", "bidirectional", "source"]
    window: Annotated[int, Meta(ge=1)] | None = None
    ring: bool = False
    chunked: bool = False

    def __post_init__(self) -> None:
        if self.chunked and self.window is None:
            raise ValueError("mask: chunks require a window, their size")
        if self.ring and (self.kind != "causal" or self.window is None):
            raise ValueError("mask: a ring mask must be causal with a window")


class Input(Section, frozen=True):
    """One graph input; `role` determines the values that the runtime feeds."""

    name: Name
    role: InputRole
    dtype: DTypeName
    shape: Shape
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if (self.role == "mask") != (self.mask is not None):
            raise ValueError(f"input {self.name!r}: expected `mask` for role 'mask', and null for all other roles")
        if self.mask is not None and self.mask.kind == "source" and self.mask.window is not None:
            raise ValueError(f"input {self.name!r}: a window is not supported for a source mask")


class Output(Section, frozen=True):
    """One graph output; `role` determines its meaning."""

    name: Name
    role: OutputRole
    dtype: DTypeName
    shape: Shape


class Classes(Section, frozen=True):
    """The classes of the output `classes`: their names, and the function from logits to scores.

    `per`: a row has the logits of a sequence, of each token, or those of the first and last token of a span.
    """

    per: Literal["sequence", "token", "span"]
    names: Annotated[tuple[Annotated[str, Meta(max_length=10_000)], ...], Meta(min_length=1)]
    activation: Literal["softmax", "sigmoid", "none"]


class State(Section, frozen=True):
    """One tensor that persists between calls, as a graph input and a graph output.

    `window` is set for ring buffers only, and `block` for caches with one slot for so many tokens. Without an output
    the state is read-only: it is an output of the encoder's graph with the same name.
    """

    kind: Name
    input: Name
    output: Name | None
    dtype: DTypeName
    shape: Shape
    window: Annotated[int, Meta(ge=1)] | None = None
    block: Annotated[int, Meta(ge=2, le=2**16)] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "block") != (self.block is not None):
            raise ValueError(f"state {self.input!r}: expected `block` for kind 'block', and null for all other kinds")
        if (self.kind == "ring") != (self.window is not None):
            raise ValueError(f"state {self.input!r}: expected `window` for kind 'ring', and null for all other kinds")


class Tensor(Section, frozen=True):
    """One weight: the initializer of that name, with its `offset` and size in `bytes` in weights.bin."""

    name: Name
    shape: tuple[Annotated[int, Meta(ge=0, le=2**40)], ...]
    dtype: DTypeName
    offset: Size
    bytes: Size

    def __post_init__(self) -> None:
        expected = DTYPES[self.dtype].nbytes(math.prod(self.shape))
        if self.bytes != expected:
            shape = list(self.shape)
            raise ValueError(
                f"tensor {self.name!r}: expected {expected} bytes for {self.dtype} {shape}, got {self.bytes}"
            )


class Limits(Section, frozen=True, kw_only=True):
    """The maximum tokens of a sequence (or source) and of one call (None: no limit), and the numbers of ids and types.

    `token_types` is None without that input, and in plans of older versions.
    `longest_sequence` is the length that a build of the model allows at most; None in plans of older versions.
    A sequence that grows past `reread_past` tokens is read again from its beginning (LongRoPE; None: never).
    """

    max_seq_len: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    max_call: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    vocab_size: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    token_types: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    reread_past: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    longest_sequence: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None

    def __post_init__(self) -> None:
        if self.longest_sequence is not None and self.longest_sequence < self.max_seq_len:
            raise ValueError(
                f"longest_sequence: expected at least max_seq_len, {self.max_seq_len}, got {self.longest_sequence}"
            )


class Prefix(Section, frozen=True):
    """The special tokens of prefix-LM prompts (GLM): `end` follows the prompt, `blanks` mark the masked span."""

    end: Annotated[int, Meta(ge=0)]
    blanks: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)]


class Tokens(Section, frozen=True):
    """Ids of special tokens for generation.

    `start` is the decoder prompt of an encoder-decoder; tokens of `never` are excluded from sampling.
    """

    bos: Annotated[int, Meta(ge=0)] | None = None
    eos: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    pad: Annotated[int, Meta(ge=0)] | None = None
    start: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    never: tuple[Annotated[int, Meta(ge=0)], ...] = ()


class Encoder(Section, frozen=True):
    """The graph encoder.onnx: inputs, outputs, and limits of a source."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    limits: Limits
    engine: Engine | None = None

    def __post_init__(self) -> None:
        require_unique("encoder: graph name", [*(i.name for i in self.inputs), *(o.name for o in self.outputs)])
        require_unique("encoder: input role", [i.role for i in self.inputs if i.role != "mask"])
        require_unique("encoder: output role", [o.role for o in self.outputs if o.role != "cross"])
        roles = {i.role for i in self.inputs}
        if "token_ids" not in roles or roles - {"token_ids", "positions", "mask", "token_types", "lengths"}:
            raise ValueError(
                "encoder: expected an input of the role token_ids and, optionally, of the roles positions, mask, "
                f"token_types and lengths; got {', '.join(sorted(roles))}"
            )
        if any(i.mask is not None and i.mask.kind != "bidirectional" for i in self.inputs):
            raise ValueError("encoder: expected bidirectional masks only")
        if {o.role for o in self.outputs} != {"hidden_states", "cross"}:
            raise ValueError("encoder: expected outputs of the roles hidden_states and cross, and no others")


class Group(Section, frozen=True):
    """Inputs and state of one group of tokens in the graph packed.onnx."""

    inputs: tuple[Input, ...]
    state: tuple[State, ...] = ()


class Packed(Section, frozen=True):
    """The graph packed.onnx: model.onnx for two groups of tokens in one call.

    `steps` has the inputs and state of model.onnx. `piece` has the same ones for a single row, with other names. The
    outputs have the rows of both, first those of the steps: [1, n, …] with all positions of both `logit_positions`.
    """

    steps: Group
    piece: Group
    outputs: tuple[Output, ...]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Return the inputs of both groups."""
        return self.steps.inputs + self.piece.inputs

    @property
    def state(self) -> tuple[State, ...]:
        """Return the state of both groups."""
        return self.steps.state + self.piece.state


class Entry(Section, frozen=True):
    """Size in bytes and SHA-256 of one entry of the file."""

    bytes: Size
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


def require_unique(what: str, names: Iterable[str]) -> None:
    """Raise ValueError for a name that occurs more than once."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r}: expected once, got {Counter(names)[repeated[0]]} times")
