"""manifest.json as strict msgspec structs: inputs, outputs and state of the graphs, limits, tensors and entries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from archc.plan.axes import SOURCE
from archc.plan.chat_format import ChatFormat
from archc.plan.dtypes import DTYPES, DTypeName
from archc.plan.engine_section import ENGINE_TARGETS, Engine, Name, Section
from archc.plan.errors import PlanError
from archc.plan.generation import GenerationDefaults

FORMAT = 1
"""The version of the format that archc writes, and the newest that it reads."""

Size = Annotated[int, Meta(ge=0, le=2**48)]
Dim = Annotated[int, Meta(ge=1, le=2**40)] | Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
Shape = tuple[Dim, ...]
InputRole = Literal[
    "token_ids", "positions", "write_indices", "lengths", "block_positions", "mask", "logit_positions", "token_types"
]
OutputRole = Literal["logits", "hidden_states", "pooled", "cross", "next_token", "next_logit"]


class Mask(Section, frozen=True):
    """The keys that are visible to a query.

    `causal`: up to its own position; `prefix`: causal, and the whole prompt; `bidirectional`: its row; `source`: the
    encoder's tokens. A `window` limits the distance. With `ring`, the keys are the slots of that window's ring buffers.
    """

    kind: Literal["causal", "prefix", "bidirectional", "source"]
    window: Annotated[int, Meta(ge=1)] | None = None
    ring: bool = False

    def __post_init__(self) -> None:
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


class State(Section, frozen=True):
    """One tensor that persists between calls, as a graph input and a graph output.

    `window` is set for ring buffers only. Without an output the state is read-only: it is an output of the encoder's
    graph with the same name.
    """

    kind: Name
    input: Name
    output: Name | None
    dtype: DTypeName
    shape: Shape
    window: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
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
        _require_unique("encoder: graph name", [*(i.name for i in self.inputs), *(o.name for o in self.outputs)])
        _require_unique("encoder: input role", [i.role for i in self.inputs if i.role != "mask"])
        _require_unique("encoder: output role", [o.role for o in self.outputs if o.role != "cross"])
        roles = {i.role for i in self.inputs}
        if "token_ids" not in roles or roles - {"token_ids", "positions", "mask", "token_types"}:
            raise ValueError(
                "encoder: expected inputs of the roles token_ids and, optionally, positions, mask, token_types; "
                f"got {', '.join(sorted(roles))}"
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


class Manifest(Section, frozen=True, kw_only=True):
    """The whole manifest.json; the writer fills in `entries`."""

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
    packed: Packed | None = None
    limits: Limits
    tokens: Tokens = Tokens()
    generation: GenerationDefaults | None = None
    chat_stop: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    chat_format: ChatFormat | None = None
    prefix: Prefix | None = None
    engine: Engine | None = None
    tensors: tuple[Tensor, ...] = ()
    parameters: Size
    flops_per_token: Annotated[int, Meta(ge=0)]
    entries: dict[str, Entry] = field(default_factory=dict)
    builder: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        states = [name for state in self.state for name in (state.input, state.output) if name is not None]
        _require_unique("graph name", [*(i.name for i in self.inputs), *(o.name for o in self.outputs), *states])
        _require_unique("input role", [i.role for i in self.inputs if i.role != "mask"])
        _require_unique("output role", [o.role for o in self.outputs])
        _require_unique("tensor", [t.name for t in self.tensors])
        roles = {i.role for i in self.inputs}
        is_prefix_lm = "block_positions" in roles or any(
            i.mask is not None and i.mask.kind == "prefix" for i in self.inputs
        )
        if is_prefix_lm != (self.prefix is not None):
            raise ValueError("expected `prefix` with a prefix mask or block positions, and null otherwise")
        required = {"token_ids"}
        if self.output("logits") is not None:
            required.add("logit_positions")
        if self.topology != "encoder":
            required.add("logit_positions")
            # A KV cache needs slot indices and masks; recurrent state only needs to skip padding.
            is_recurrent = self.state and all(state.kind in ("fixed", "cross") for state in self.state)
            required |= {"lengths"} if is_recurrent else {"write_indices", "mask"}
            if self.output("logits") is None:
                raise ValueError("no output of role logits, which a decoder requires")
        elif self.state:
            raise ValueError("state is not supported for topology 'encoder'")
        if missing := required - roles:
            raise ValueError(f"no input of role {', '.join(sorted(missing))}; a plan of this topology requires it")
        if any(output.role == "cross" for output in self.outputs):
            raise ValueError("an output of role 'cross' is not supported outside of `encoder`")
        self._check_encoder()
        self._check_packed()
        if any(token >= self.limits.vocab_size for token in (*self.tokens.start, *self.tokens.never)):
            raise ValueError("tokens: expected ids of the vocabulary in `start` and `never`")
        if self.generation is not None and max(self.generation.token_ids, default=0) >= self.limits.vocab_size:
            raise ValueError("generation: expected ids of the vocabulary")
        if self.limits.max_call is None and any(state.kind == "ring" for state in self.state):
            raise ValueError("limits.max_call: expected a number for a plan with ring buffers, got null")
        self._check_engine()
        self._check_greedy_outputs()
        logits = self.output("logits")
        if logits is not None and logits.shape[-1:] != (self.limits.vocab_size,):
            raise ValueError(
                f"logits: expected a last axis of limits.vocab_size, {self.limits.vocab_size}, got {list(logits.shape)}"
            )

    @property
    def chat_stop_strings(self) -> tuple[str, ...]:
        """Return the stop strings of a chat: those of the settings of generation, and those of the chat format."""
        return (*((self.generation and self.generation.stop_strings) or ()), *self.chat_stop)

    def _check_greedy_outputs(self) -> None:
        """Raise ValueError unless next_token and next_logit, if present, have the shape of the rows of logits."""
        token, logit, logits = (self.output(role) for role in ("next_token", "next_logit", "logits"))
        if token is None and logit is None:
            return
        if token is None or logit is None or logits is None:
            raise ValueError("expected outputs of the roles next_token, next_logit and logits together")
        if (token.dtype, token.shape) != ("int64", logits.shape[:-1]):
            raise ValueError(
                f"next_token: expected int64 {list(logits.shape[:-1])}, got {token.dtype} {list(token.shape)}"
            )
        if (logit.dtype, logit.shape) != (logits.dtype, logits.shape[:-1]):
            raise ValueError(
                f"next_logit: expected {logits.dtype} {list(logits.shape[:-1])}, got {logit.dtype} {list(logit.shape)}"
            )

    def _check_encoder(self) -> None:
        """Raise ValueError unless the encoder's cross outputs are the cross state of the decoder."""
        if (self.topology == "encoder-decoder") != (self.encoder is not None):
            raise ValueError("expected `encoder` for topology 'encoder-decoder', and null otherwise")
        for state in self.state:
            if (state.kind == "cross") != (state.output is None):
                raise ValueError(f"state {state.input!r}: expected an output, or null for kind 'cross'")
        masks = [i for i in self.inputs if i.mask is not None and i.mask.kind == "source"]
        if len(masks) != (self.encoder is not None):
            raise ValueError(f"expected one source mask with an encoder, and none without, got {len(masks)}")
        outputs = {o.name: o for o in self.encoder.outputs if o.role == "cross"} if self.encoder is not None else {}
        states = {state.input: state for state in self.state if state.kind == "cross"}
        if mismatched := sorted(outputs.keys() ^ states.keys()):
            raise ValueError(f"cross state {mismatched[0]!r}: expected in both `state` and the encoder's outputs")
        for name, state in states.items():
            shape = tuple(SOURCE if axis == "seq" else axis for axis in outputs[name].shape)
            if (outputs[name].dtype, shape) != (state.dtype, state.shape):
                raise ValueError(
                    f"cross state {name!r}: {outputs[name].dtype} {list(shape)} in the encoder's outputs, but "
                    f"{state.dtype} {list(state.shape)} in `state`"
                )

    def _check_packed(self) -> None:
        """Raise ValueError unless both groups of a packed graph have the inputs and the state of the model."""
        packed = self.packed
        if packed is None:
            return
        states = [name for state in packed.state for name in (state.input, state.output) if name is not None]
        names = [*(i.name for i in packed.inputs), *(o.name for o in packed.outputs), *states]
        _require_unique("packed: graph name", names)
        for group in (packed.steps, packed.piece):
            if [(i.role, i.dtype, i.mask) for i in group.inputs] != [(i.role, i.dtype, i.mask) for i in self.inputs]:
                raise ValueError("packed: expected the inputs of the model in both groups")
            if [(s.kind, s.dtype, s.window, len(s.shape)) for s in group.state] != [
                (s.kind, s.dtype, s.window, len(s.shape)) for s in self.state
            ]:
                raise ValueError("packed: expected the state of the model in both groups")
        if [(o.role, o.dtype) for o in packed.outputs] != [(o.role, o.dtype) for o in self.outputs]:
            raise ValueError("packed: expected the outputs of the model")

    def _check_engine(self) -> None:
        """Raise ValueError unless TensorRT targets, and no others, have engines, and these fit the graphs and state."""
        engine = self.engine
        engines = [engine, *([self.encoder.engine] if self.encoder is not None else [])]
        if any((self.target in ENGINE_TARGETS) != (item is not None) for item in engines):
            raise ValueError(
                f"engine: expected one for each graph with target {' or '.join(ENGINE_TARGETS)}, and null otherwise"
            )
        if engine is None:
            return
        if any(state.kind == "ring" for state in self.state):
            raise ValueError("engine: ring buffers are not supported")
        shapes = [*(i.shape for i in self.inputs), *(o.shape for o in self.outputs), *(s.shape for s in self.state)]
        engine.check("engine.trt", self.target, shapes)
        if set(engine.aliased) != {(state.input, state.output) for state in self.state if state.kind == "kv"}:
            raise ValueError("engine.aliased: expected exactly the state of kind kv")
        if engine.capacity is not None and engine.capacity < self.limits.max_seq_len:
            raise ValueError(f"engine.capacity: expected at least {self.limits.max_seq_len}, got {engine.capacity}")
        if self.encoder is not None and self.encoder.engine is not None:
            second = self.encoder.engine
            shapes = [*(i.shape for i in self.encoder.inputs), *(o.shape for o in self.encoder.outputs)]
            second.check("encoder.trt", self.target, shapes)
            if (second.version, second.compute_capabilities) != (engine.version, engine.compute_capabilities):
                raise ValueError("encoder.engine: expected the version and devices of `engine`")
            if second.aliased:
                raise ValueError("encoder.engine: aliased state is not supported")

    @property
    def has_stable_prefixes(self) -> bool:
        """Return whether the state after some tokens is the same whatever follows them.

        It is not if the length of a prompt, which is then one call, changes the rotation of its tokens or their mask.
        """
        return self.limits.max_call is not None or all(state.kind == "fixed" for state in self.state)

    def output(self, role: OutputRole) -> Output | None:
        """Return the output of that role, or None if the plan has none."""
        return next((output for output in self.outputs if output.role == role), None)


def _require_unique(what: str, names: Iterable[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r}: expected once, got {Counter(names)[repeated[0]]} times")


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Return the manifest in `data`; raise PlanError with the place `where` for a newer format and for invalid data."""
    try:
        top = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise PlanError(f"{where}: manifest.json is not JSON: {error}; build the plan again") from None
    version = top.get("format") if isinstance(top, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise PlanError(
            f"{where}: plan format {version} of archc {top.get('archc')!s:.40} is not supported, expected at most "
            f"{FORMAT}; install archc {top.get('archc')!s:.40} or newer, or build the plan again"
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
    """Return manifest.json with one key per line."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)
