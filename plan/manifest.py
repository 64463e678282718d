"""manifest.json: what a plan says about itself, as strict models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from archc.plan.dtypes import DTYPES, DTypeName
from archc.plan.engine_section import ENGINE_TARGETS, Engine, Name, Section
from archc.plan.errors import PlanError

FORMAT = 1
"""The newest format version that this runtime reads, and the one that it writes."""

Size = Annotated[int, Meta(ge=0, le=2**48)]
Dim = Annotated[int, Meta(ge=1, le=2**40)] | Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
Shape = tuple[Dim, ...]
InputRole = Literal[
    "token_ids", "positions", "write_indices", "lengths", "block_positions", "mask", "logit_positions", "token_types"
]
OutputRole = Literal["logits", "hidden_states", "pooled", "cross", "next_token", "next_logit"]


class Mask(Section, frozen=True):
    """Which keys a query may see: causal (none after it), prefix (also all of the prompt) or bidirectional (all of its
    row), perhaps in a window, or source: all of what the encoder read; with `ring`, the keys are those of that window's
    ring states, slot by slot."""

    kind: Literal["causal", "prefix", "bidirectional", "source"]
    window: Annotated[int, Meta(ge=1)] | None = None
    ring: bool = False

    def __post_init__(self) -> None:
        if self.ring and (self.kind != "causal" or self.window is None):
            raise ValueError("a mask over a ring is causal and has a window")


class Input(Section, frozen=True):
    """One graph input, and the role that tells the runtime what to feed it."""

    name: Name
    role: InputRole
    dtype: DTypeName
    shape: Shape
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if (self.role == "mask") != (self.mask is not None):
            raise ValueError(f"input {self.name!r}: an input of role 'mask', and no other, has a mask description")
        if self.mask is not None and self.mask.kind == "source" and self.mask.window is not None:
            raise ValueError(f"input {self.name!r}: a source mask has no window")


class Output(Section, frozen=True):
    """One graph output and its meaning."""

    name: Name
    role: OutputRole
    dtype: DTypeName
    shape: Shape


class State(Section, frozen=True):
    """One tensor kept between calls: a graph input and output bound to the same buffer; a ring has its window. One
    without an output is only read, and the encoder's graph gives it under the same name."""

    kind: Name
    input: Name
    output: Name | None
    dtype: DTypeName
    shape: Shape
    window: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "ring") != (self.window is not None):
            raise ValueError(f"state {self.input!r}: a ring, and no other kind, has a window")


def ring_slots(window: int, longest_call: int | None) -> int:
    """Return how many slots a ring of a window has at most.

    With window + S − 1 slots, a call of S tokens overwrites nothing that any of its queries may see.
    """
    assert longest_call is not None
    return -(-(window + longest_call - 1) // 64) * 64


class Tensor(Section, frozen=True):
    """One weight: the initializer of that name in model.onnx, `bytes` bytes at `offset` in weights.bin."""

    name: Name
    shape: tuple[Annotated[int, Meta(ge=0, le=2**40)], ...]
    dtype: DTypeName
    offset: Size
    bytes: Size

    def __post_init__(self) -> None:
        expected = DTYPES[self.dtype].nbytes(math.prod(self.shape))
        if self.bytes != expected:
            shape = list(self.shape)
            raise ValueError(f"tensor {self.name!r}: {self.dtype} {shape} takes {expected} bytes, not {self.bytes}")


class Limits(Section, frozen=True, kw_only=True):
    """The most tokens that a sequence, or a source, may hold, the most that one call takes in (null: any), and the
    number of token ids."""

    max_seq_len: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    max_call: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    vocab_size: Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Prefix(Section, frozen=True):
    """Where a prompt that is read both ways ends: before the token `end`; `blanks` are the ids of the token at whose
    place the written part belongs."""

    end: Annotated[int, Meta(ge=0)]
    blanks: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)]


class Tokens(Section, frozen=True):
    """Ids of the special tokens that generation needs; `start` are those that an encoder-decoder's answer begins with,
    and `never` those that are not written."""

    bos: Annotated[int, Meta(ge=0)] | None = None
    eos: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    pad: Annotated[int, Meta(ge=0)] | None = None
    start: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    never: tuple[Annotated[int, Meta(ge=0)], ...] = ()


class Encoder(Section, frozen=True):
    """The graph encoder.onnx, which reads a source once: its inputs, its outputs, and the limits of a source."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    limits: Limits
    engine: Engine | None = None

    def __post_init__(self) -> None:
        _unique("graph name of the encoder", [*(i.name for i in self.inputs), *(o.name for o in self.outputs)])
        _unique("input role of the encoder", [i.role for i in self.inputs if i.role != "mask"])
        _unique("output role of the encoder", [o.role for o in self.outputs if o.role != "cross"])
        roles = {i.role for i in self.inputs}
        if "token_ids" not in roles or roles - {"token_ids", "positions", "mask", "token_types"}:
            raise ValueError(
                f"the encoder's inputs are {', '.join(sorted(roles))}; it reads token_ids and what they need"
            )
        if any(i.mask is not None and i.mask.kind != "bidirectional" for i in self.inputs):
            raise ValueError("the encoder's masks are bidirectional")
        if {o.role for o in self.outputs} != {"hidden_states", "cross"}:
            raise ValueError("the encoder's outputs are hidden_states and cross")


class Entry(Section, frozen=True):
    """Size and hash of one entry of the file."""

    bytes: Size
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Manifest(Section, frozen=True, kw_only=True):
    """The whole of manifest.json.  `entries` is filled in by the writer."""

    format: Annotated[int, Meta(ge=1, le=FORMAT)] = FORMAT
    archc: str
    family: str
    topology: Literal["decoder", "encoder", "encoder-decoder"]
    spec: str
    config: dict[str, Any]
    target: str
    dtype: str
    quantization: str | None = None
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    state: tuple[State, ...] = ()
    encoder: Encoder | None = None
    limits: Limits
    tokens: Tokens = Tokens()
    prefix: Prefix | None = None
    engine: Engine | None = None
    tensors: tuple[Tensor, ...] = ()
    parameters: Size
    flops_per_token: Annotated[int, Meta(ge=0)]
    entries: dict[str, Entry] = field(default_factory=dict)
    builder: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        states = [name for state in self.state for name in (state.input, state.output) if name is not None]
        _unique("graph name", [*(i.name for i in self.inputs), *(o.name for o in self.outputs), *states])
        _unique("input role", [i.role for i in self.inputs if i.role != "mask"])
        _unique("output role", [o.role for o in self.outputs])
        _unique("tensor", [t.name for t in self.tensors])
        roles = {i.role for i in self.inputs}
        prefixed = "block_positions" in roles or any(
            i.mask is not None and i.mask.kind == "prefix" for i in self.inputs
        )
        if prefixed != (self.prefix is not None):
            raise ValueError("a prefix mask or block positions, and nothing else, need `prefix`")
        required = {"token_ids"}
        if self.output("logits") is not None:
            required.add("logit_positions")
        if self.topology != "encoder":
            required.add("logit_positions")
            # A cache has slots to write and to hide; a state of fixed size only must not take in padding.
            recurrent = self.state and all(state.kind in ("fixed", "cross") for state in self.state)
            required |= {"lengths"} if recurrent else {"write_indices", "mask"}
            if self.output("logits") is None:
                raise ValueError("a decoder has an output of role 'logits'")
        elif self.state:
            raise ValueError("an encoder has no state")
        if missing := required - roles:
            raise ValueError(f"no input of role {', '.join(sorted(missing))}, which a plan of this topology needs")
        if any(output.role == "cross" for output in self.outputs):
            raise ValueError("only an encoder's graph has outputs of role 'cross'")
        self._check_encoder()
        if any(token >= self.limits.vocab_size for token in (*self.tokens.start, *self.tokens.never)):
            raise ValueError("tokens.start and tokens.never are ids of the vocabulary")
        if self.limits.max_call is None and any(state.kind == "ring" for state in self.state):
            raise ValueError("a ring has room for one call: `limits.max_call` says how long it may be")
        self._check_engine()
        self._check_choice()
        logits = self.output("logits")
        if logits is not None and logits.shape[-1:] != (self.limits.vocab_size,):
            raise ValueError(f"logits are {list(logits.shape)}, but limits.vocab_size is {self.limits.vocab_size}")

    def _check_choice(self) -> None:
        """Raise ValueError unless the likeliest token and its logit are there together, one for each row of logits."""
        token, logit, logits = (self.output(role) for role in ("next_token", "next_logit", "logits"))
        if token is None and logit is None:
            return
        if token is None or logit is None or logits is None:
            raise ValueError("outputs of the roles next_token and next_logit come together, and with logits")
        if (token.dtype, token.shape) != ("int64", logits.shape[:-1]):
            raise ValueError(f"next_token is int64 {list(logits.shape[:-1])}, not {token.dtype} {list(token.shape)}")
        if (logit.dtype, logit.shape) != (logits.dtype, logits.shape[:-1]):
            raise ValueError(f"next_logit is {logit.dtype} {list(logit.shape)}, and logits {logits.dtype}")

    def _check_encoder(self) -> None:
        """Raise ValueError unless the encoder gives exactly the state of kind `cross` that this graph reads."""
        if (self.topology == "encoder-decoder") != (self.encoder is not None):
            raise ValueError("a plan of topology encoder-decoder, and no other, has an `encoder`")
        for state in self.state:
            if (state.kind == "cross") != (state.output is None):
                raise ValueError(f"state {state.input!r}: a cross state, and no other, has no output")
        masks = [i for i in self.inputs if i.mask is not None and i.mask.kind == "source"]
        if len(masks) != (self.encoder is not None):
            raise ValueError("a plan with an encoder, and no other, has a source mask, and one only")
        given = {o.name: o for o in self.encoder.outputs if o.role == "cross"} if self.encoder is not None else {}
        read = {state.input: state for state in self.state if state.kind == "cross"}
        if odd := sorted(given.keys() ^ read.keys()):
            raise ValueError(f"the cross state {odd[0]!r} is in only one of state and the encoder's outputs")
        for name, state in read.items():
            shape = tuple("source" if axis == "seq" else axis for axis in given[name].shape)
            if (given[name].dtype, shape) != (state.dtype, state.shape):
                raise ValueError(
                    f"the encoder gives {name!r} as {given[name].dtype} {list(shape)}, and the state is {state.dtype} "
                    f"{list(state.shape)}"
                )

    def _check_engine(self) -> None:
        """Raise ValueError unless engines are there where the target needs them, and know every named axis."""
        engine = self.engine
        engines = [engine, *([self.encoder.engine] if self.encoder is not None else [])]
        if any((self.target in ENGINE_TARGETS) != (item is not None) for item in engines):
            raise ValueError(f"a plan for {' or '.join(ENGINE_TARGETS)}, and no other, has an `engine` for each graph")
        if engine is None:
            return
        if self.target != engine.builder.replace("_", "-"):
            raise ValueError(f"`engine` is of {engine.builder}, and the target is {self.target!r:.60}")
        if any(state.kind == "ring" for state in self.state):
            raise ValueError("an engine has no rings")
        shapes = [*(i.shape for i in self.inputs), *(o.shape for o in self.outputs), *(s.shape for s in self.state)]
        engine.check("engine.trt", shapes)
        if set(engine.aliased) != {(state.input, state.output) for state in self.state if state.kind == "kv"}:
            raise ValueError("`engine.aliased` is not the plan's state of kind kv")
        if engine.capacity is not None and engine.capacity < self.limits.max_seq_len:
            raise ValueError(f"the engine holds {engine.capacity} slots, fewer than limits.max_seq_len")
        if self.encoder is not None and self.encoder.engine is not None:
            second = self.encoder.engine
            shapes = [*(i.shape for i in self.encoder.inputs), *(o.shape for o in self.encoder.outputs)]
            second.check("encoder.trt", shapes)
            mine = (engine.builder, engine.version, engine.compute_capabilities)
            if (second.builder, second.version, second.compute_capabilities) != mine or second.aliased:
                raise ValueError("the encoder's engine is of another builder, version or device, or has aliased state")

    def output(self, role: OutputRole) -> Output | None:
        """Return the output of that role, or None where the plan has none."""
        return next((output for output in self.outputs if output.role == role), None)


def _unique(what: str, names: Iterable[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} appears more than once")


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Return the manifest in `data`; raise PlanError, naming `where`, for a newer format or anything unexpected."""
    try:
        top = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise PlanError(f"{where}: manifest.json is not JSON: {error}; build the plan again") from None
    version = top.get("format") if isinstance(top, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise PlanError(
            f"{where}: plan format {version}, written by archc {top.get('archc')!s:.40}; this archc reads up to format "
            f"{FORMAT}: install archc {top.get('archc')!s:.40} or newer, or build the plan again"
        )
    try:
        return msgspec.convert(top, Manifest)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `")
        key = path.removeprefix("$.").rstrip("`") or "top level"
        raise PlanError(
            f"{where}: manifest.json, {key:.200}: {problem:.300}; build the plan again with this archc"
        ) from None


def encode_manifest(manifest: Manifest) -> bytes:
    """Return manifest.json, one key a line."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)
