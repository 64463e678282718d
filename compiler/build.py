"""From a spec to a plan: the whole compiler on one page."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archspec import BoundSpec, detect_spec, load_spec
from compiler import interface
from compiler.assemble import MODEL, assemble
from compiler.checkpoint.folder import (
    SpecialTokens,
    find_checkpoint,
    read_folder_config,
    special_tokens,
    tokenizer_files,
)
from compiler.checkpoint.names import map_checkpoint, tied_slots
from compiler.checkpoint.reader import Checkpoint, RandomWeights
from compiler.cost import flops_per_token, parameter_count
from compiler.emit import (
    Progress,
    Slots,
    Stored,
    check_place,
    check_space,
    place_weights,
    serialize,
    total_bytes,
    write_folder,
    write_plan,
)
from compiler.errors import BuildError
from compiler.model import Model, meta_model
from compiler.passes.fixed_capacity import fixed_capacity
from compiler.passes.next_token import find_next_token
from compiler.passes.quantize_cache import quantize_caches
from compiler.passes.whole_cache import read_whole_caches
from compiler.rings import Rings, find_rings, longest_call
from compiler.slots import parameter_slots, slot_shapes
from compiler.targets import TARGETS, Target
from compiler.tensorrt.plan import write_engine_plan
from compiler.tensorrt.profiles import is_loose
from compiler.tensorrt.sections import EngineBuilder, EngineOptions, open_builder, refuse_options
from runtime.plan import Encoder, Limits, Manifest, Prefix, Tokens
from runtime.plan.manifest import Input, Output, State

_MANIFEST_ROOM = 2**20
DEFAULT_ENGINE = EngineOptions()


def build(
    spec: str | Path,
    weights: str | Path | None = None,
    *,
    out: str | Path = "engine.plan",
    target: str = "ort-cpu",
    dtype: str | None = None,
    quantize: str | None = None,
    kv: str | None = None,
    size: str | None = None,
    random: int | None = None,
    max_seq_len: int | None = None,
    engine: EngineOptions = DEFAULT_ENGINE,
    overrides: Sequence[str] = (),
    progress: Progress = lambda name, done, total: None,
    warn: Callable[[str], None] = lambda message: None,
) -> Path:
    """Builds a plan from a spec (a name or a file; or a checkpoint's folder) and writes it to `out`.

    `dtype` is by default the first that the target has; `engine` is for the targets that want an engine.

    Raises ArchspecError for a bad spec, config or weight table, BuildError for a bad checkpoint, target or place to
    write, and PlanError where the plan cannot be written. On any of them, what was at `out` before stays.
    """
    place = choose_target(target, dtype, quantize)
    dtype = dtype or place.dtypes[0]
    check_cache(place, kv, dtype)
    check_place(Path(out), place.folder)
    builder = open_engine_builder(place, engine, quantize)
    folder = choose_checkpoint(spec, weights, random)
    config = read_folder_config(folder) if folder is not None else None
    bound = bind(spec, config, size, overrides)
    longest = choose_length(bound, max_seq_len)
    model = meta_model(bound, interface.DTYPES[dtype])
    slots = open_slots(bound, model, folder if random is None else None, random)

    graphs = assemble(model)
    rings = find_rings(bound, longest) if place.rings else Rings()
    rings.apply(graphs[MODEL])
    shaping = (fixed_capacity(longest),) if builder is not None else ()
    for graph in graphs.values():
        for graph_pass in (*place.passes_for(quantize), *shaping):
            graph_pass(graph)
    state = [rings.state(item) for item in interface.graph_state(bound, model.dtype)]
    if kv == "int8":
        state = quantize_caches(graphs[MODEL], state)
    inputs = [rings.input(item) for item in interface.graph_inputs(bound)]
    if place.whole_caches:
        inputs = read_whole_caches(graphs[MODEL], inputs, state)
    outputs = interface.graph_outputs(bound, model.dtype)
    if place.chooses and bound.topology != "encoder":
        outputs = find_next_token(graphs[MODEL], outputs)
    loose = is_loose(graphs[MODEL])
    stored = place_weights(*graphs.values())
    serialized = {f"{name}.onnx": serialize(graph) for name, graph in graphs.items()}

    files = tokenizer_files(folder)
    tokens = special_tokens(folder, config, bound.embedding.vocab, bound.topology == "encoder-decoder")
    manifest = describe(
        bound, model, place, dtype, quantize, stored, tokens, longest, inputs, outputs, state, builder, loose
    )
    texts = sum(map(len, (*serialized.values(), *files.values())))
    check_space(Path(out), total_bytes(stored) + texts + _MANIFEST_ROOM)
    if builder is not None:
        return write_engine_plan(builder, Path(out), serialized, stored, slots, files, manifest, progress, warn)
    write = write_folder if place.folder else write_plan
    return write(Path(out), serialized, stored, slots, files, manifest, progress, warn)


def open_engine_builder(place: Target, options: EngineOptions, quantize: str | None) -> EngineBuilder | None:
    """What builds the target's engine, where it wants one. Raises BuildError where that is missing."""
    if place.engine:
        return open_builder(place.name, options, quantize)
    refuse_options(place.name, options)
    return None


def choose_target(name: str, dtype: str | None, quantize: str | None = None) -> Target:
    """The target of that name. Raises BuildError where it is unknown or cannot run that dtype or quantisation."""
    if name not in TARGETS:
        raise BuildError(f"target '{name}' is not known; this archc builds {', '.join(TARGETS)}")
    place = TARGETS[name]
    if dtype is not None and dtype not in place.dtypes:
        raise BuildError(f"target '{name}' does not run {dtype}: choose {' or '.join(place.dtypes)}")
    if quantize is not None and quantize not in place.quantizations:
        known = " or ".join(place.quantizations)
        raise BuildError(f"target '{name}' has no quantisation '{quantize}'" + (f": choose {known}" if known else ""))
    if quantize is not None and (dtype or place.dtypes[0]) not in place.quantized_dtypes:
        raise BuildError(f"--quantize {quantize} computes in float32 beside the integers: leave out --dtype {dtype}")
    return place


def check_cache(place: Target, kv: str | None, dtype: str) -> None:
    """Raises BuildError for a form of the cache that the target does not have."""
    if kv is not None and kv not in place.caches:
        known = " or ".join(place.caches)
        raise BuildError(f"target '{place.name}' has no --kv '{kv}'" + (f": choose {known}" if known else ""))
    if kv is not None and dtype != "float32":
        raise BuildError(f"--kv {kv} computes in float32 beside the integers: leave out --dtype {dtype}")


def choose_checkpoint(spec: str | Path, weights: str | Path | None, random: int | None) -> Path | None:
    """The checkpoint's folder: what `weights` names, or the spec argument itself where that is a folder."""
    if weights is None and Path(spec).is_dir():
        weights = spec
    if weights is not None and random is not None and weights != spec:
        raise BuildError("--weights and --random contradict each other: give one")
    if weights is not None:
        return find_checkpoint(weights)
    if random is None:
        raise BuildError("no weights: name a checkpoint with --weights, or build with --random SEED")
    return None


def bind(spec: str | Path, config: dict[str, Any] | None, size: str | None, overrides: Sequence[str]) -> BoundSpec:
    """The spec with its sizes known; a checkpoint's folder in place of a spec finds its spec by itself."""
    name = spec
    if Path(spec).is_dir():
        if config is None:
            raise BuildError(f"{spec}: no config.json, so the family cannot be told: name a spec and use --weights")
        name = detect_spec(config, str(Path(spec) / "config.json"))
    return load_spec(name, overrides).bind(config, size)


def choose_length(spec: BoundSpec, max_seq_len: int | None) -> int:
    """The most tokens that the plan will take. Raises BuildError for more than the model is meant for."""
    if max_seq_len is not None and not 1 <= max_seq_len <= spec.context:
        raise BuildError(f"--max-seq-len {max_seq_len}: this model takes 1 to {spec.context} tokens")
    return max_seq_len or spec.context


def open_slots(spec: BoundSpec, model: Model, folder: Path | None, random: int | None) -> Slots:
    """The model's weights: a checkpoint's, or random ones."""
    if random is not None or folder is None:
        return RandomWeights(slot_shapes(model), random or 0, model.zero_centred_norms())
    return map_checkpoint(spec, model, Checkpoint(folder), folder)


def describe(
    spec: BoundSpec,
    model: Model,
    target: Target,
    dtype: str,
    quantize: str | None,
    stored: Sequence[Stored],
    tokens: SpecialTokens,
    longest: int,
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    state: Sequence[State],
    builder: EngineBuilder | None = None,
    loose: bool = False,
) -> Manifest:
    """What the plan says about itself."""
    packages = ("torch", "onnx-ir", "onnxscript")
    limits = Limits(max_seq_len=longest, max_call=longest_call(spec), vocab_size=spec.embedding.vocab)
    engine, encoder = None, describe_encoder(spec, model)
    if builder is not None:
        engine, encoder = builder.sections(inputs, outputs, state, limits, encoder, loose)
    return Manifest(
        archc=version("archc"),
        family=spec.family,
        topology=spec.topology,
        spec=spec.text,
        config=dict(spec.config),
        target=target.name,
        dtype=dtype,
        quantization=quantize,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        state=tuple(state),
        encoder=encoder,
        engine=engine,
        limits=limits,
        prefix=Prefix(end=spec.prefix.end, blanks=spec.prefix.blanks) if spec.prefix is not None else None,
        tokens=Tokens(bos=tokens.bos, eos=tokens.eos, pad=tokens.pad, start=tokens.start, never=tokens.never),
        tensors=tuple(item.tensor for item in stored),
        parameters=parameter_count(model),
        flops_per_token=flops_per_token(model),
        builder={"python": platform.python_version(), "platform": platform.platform(terse=True)}
        | {name: version(name) for name in packages},
    )


def describe_encoder(spec: BoundSpec, model: Model) -> Encoder | None:
    """What the plan says about the graph that reads a source, where there is one."""
    if spec.encoder is None:
        return None
    return Encoder(
        inputs=tuple(interface.graph_inputs(spec.encoder)),
        outputs=tuple(interface.encoder_outputs(spec, model.dtype)),
        limits=Limits(max_seq_len=spec.encoder.context, vocab_size=spec.encoder.embedding.vocab),
    )


def load_torch(model: Model, slots: Slots) -> Model:
    """Fills a model on the meta device with real weights, so that it runs in torch."""
    ties = tied_slots(model)
    weights = {
        name: _whole(name, parts, slots).to(model.get_parameter(name).dtype)
        for name, parts in parameter_slots(model).items()
    }
    weights |= {name: weights[slot] for name, slot in ties.items()}
    model.load_state_dict(weights, assign=True)
    for name, slot in ties.items():
        owner, _, parameter = name.rpartition(".")
        setattr(model.get_submodule(owner), parameter, model.get_parameter(slot))
    return model.eval()


def _whole(name: str, parts: Sequence[str], slots: Slots) -> Tensor:
    """A parameter's numbers: its slot's, or its experts' stacked."""
    return slots.read(name) if parts == (name,) else torch.stack([slots.read(part) for part in parts])
