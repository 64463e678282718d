"""manifest.json as strict msgspec structs: inputs, outputs and state of the graphs, limits, tensors and entries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from archc.plan.axes import SOURCE
from archc.plan.chat_format import ChatFormat
from archc.plan.engine_section import ENGINE_TARGETS, Engine, Section
from archc.plan.errors import PlanError
from archc.plan.generation import GenerationDefaults
from archc.plan.records import (
    Classes,
    Encoder,
    Entry,
    Input,
    Limits,
    Output,
    OutputRole,
    Packed,
    Prefix,
    Size,
    State,
    Tensor,
    Tokens,
    require_unique,
)

FORMAT = 1
"""The version of the format that archc writes, and the newest that it reads."""


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
    classes: Classes | None = None
    engine: Engine | None = None
    tensors: tuple[Tensor, ...] = ()
    parameters: Size
    flops_per_token: Annotated[int, Meta(ge=0)]
    entries: dict[str, Entry] = field(default_factory=dict)
    builder: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        states = [name for state in self.state for name in (state.input, state.output) if name is not None]
        require_unique("graph name", [*(i.name for i in self.inputs), *(o.name for o in self.outputs), *states])
        require_unique("input role", [i.role for i in self.inputs if i.role != "mask"])
        require_unique("output role", [o.role for o in self.outputs])
        require_unique("tensor", [t.name for t in self.tensors])
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
        self._check_classes()
        logits = self.output("logits")
        if logits is not None and logits.shape[-1:] != (self.limits.vocab_size,):
            raise ValueError(
                f"logits: expected a last axis of limits.vocab_size, {self.limits.vocab_size}, got {list(logits.shape)}"
            )

    @property
    def chat_stop_strings(self) -> tuple[str, ...]:
        """Return the stop strings of a chat: those of the settings of generation, and those of the chat format."""
        return (*((self.generation and self.generation.stop_strings) or ()), *self.chat_stop)

    def _check_classes(self) -> None:
        """Raise ValueError unless the output of class logits has the axes and the number of `classes`."""
        output, classes = self.output("classes"), self.classes
        if output is None and classes is None:
            return
        if output is None or classes is None:
            raise ValueError("classes: expected both an output of role classes and `classes`, or neither")
        axes = ("batch",) if classes.per == "sequence" else ("batch", "seq")
        if output.shape != (*axes, len(classes.names)) or self.topology != "encoder":
            raise ValueError(
                f"classes: expected an encoder's output {[*axes, len(classes.names)]}, got {list(output.shape)}"
            )

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
        require_unique("packed: graph name", names)
        for group in (packed.steps, packed.piece):
            if [(i.role, i.dtype, i.mask) for i in group.inputs] != [(i.role, i.dtype, i.mask) for i in self.inputs]:
                raise ValueError("packed: expected the inputs of the model in both groups")
            if [(s.kind, s.dtype, s.window, s.block, len(s.shape)) for s in group.state] != [
                (s.kind, s.dtype, s.window, s.block, len(s.shape)) for s in self.state
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
        in_place = {(state.input, state.output) for state in self.state if state.kind in ("kv", "block")}
        if set(engine.aliased) != in_place:
            raise ValueError("engine.aliased: expected exactly the state of the kinds kv and block")
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
