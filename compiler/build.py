"""From a spec to a plan: the whole compiler on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archc.archspec import BoundSpec, detect_spec, load_spec
from archc.compiler.contract import inputs_outputs
from archc.compiler.errors import BuildError
from archc.compiler.lower import lower
from archc.compiler.modules.model import Model, meta_model
from archc.compiler.options import Form, choose_form
from archc.compiler.output.manifest import describe
from archc.compiler.output.tensorrt.plan import write_engine_plan
from archc.compiler.output.tensorrt.sections import EngineBuilder, EngineOptions, open_builder, refuse_options
from archc.compiler.output.weights_file import Listener, Progress, assign_offsets
from archc.compiler.output.writing import Content, check_place, check_space, serialize, write_folder, write_plan
from archc.compiler.weights.checkpoint.folder import (
    find_checkpoint,
    read_folder_config,
    special_tokens,
    tokenizer_files,
)
from archc.compiler.weights.checkpoint.names import map_checkpoint, tied_slots
from archc.compiler.weights.checkpoint.random_weights import RandomWeights
from archc.compiler.weights.checkpoint.reader import Checkpoint
from archc.compiler.weights.slots import Slots, parameter_slots, slot_shapes

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
    form = choose_form(target, dtype, quantize, kv)
    check_place(Path(out), form.target.folder)
    builder = open_engine_builder(form, engine)
    folder = choose_checkpoint(spec, weights, random)
    config = read_folder_config(folder) if folder is not None else None
    bound = bind(spec, config, size, overrides)
    longest = choose_length(bound, max_seq_len)
    model = meta_model(bound, inputs_outputs.DTYPES[form.dtype])
    slots = open_slots(bound, model, folder if random is None else None, random)

    lowered = lower(model, form, longest)
    stored = assign_offsets(*lowered.graphs.values())
    serialized = {f"{name}.onnx": serialize(graph) for name, graph in lowered.graphs.items()}
    tokens = special_tokens(folder, config, bound.embedding.vocab, bound.topology == "encoder-decoder")
    manifest = describe(model, form, lowered, [item.tensor for item in stored], tokens, builder)

    content = Content(serialized, stored, slots, tokenizer_files(folder), manifest)
    check_space(Path(out), content.bytes)
    listener = Listener(progress, warn)
    if builder is not None:
        return write_engine_plan(builder, Path(out), content, listener)
    return (write_folder if form.target.folder else write_plan)(Path(out), content, listener)


def open_engine_builder(form: Form, options: EngineOptions) -> EngineBuilder | None:
    """What builds the target's engine, where it wants one. Raises BuildError where that is missing."""
    if form.target.engine:
        return open_builder(form.target.name, options, form.quantization)
    refuse_options(form.target.name, options)
    return None


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
