"""The compiler as one pipeline: spec and checkpoint → model → graphs → engine.plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from archc.archspec import BoundSpec, detect_by_tensors, detect_spec, find_spec, load_spec
from archc.archspec.binding.longest import longest_sequence
from archc.compiler.contract.dtypes import TORCH_DTYPES
from archc.compiler.errors import BuildError
from archc.compiler.lower import Trace, lower
from archc.compiler.modules.model import Model, meta_model
from archc.compiler.options import BuildOptions, choose_options
from archc.compiler.output.manifest import describe
from archc.compiler.output.runtime_files import runtime_files
from archc.compiler.output.tensorrt.plan import write_engine_plan
from archc.compiler.output.tensorrt.sections import EngineBuilder, EngineOptions, open_builder, refuse_options
from archc.compiler.output.weights_file import Listener, Progress, assign_offsets
from archc.compiler.output.writing import (
    Content,
    check_destination,
    check_space,
    serialize,
    write_folder,
    write_plan,
)
from archc.compiler.text.family import chat_format, chat_stop, check_prefix, text_files
from archc.compiler.text.files import read_object
from archc.compiler.tracing.stitch import assemble
from archc.compiler.weights.checkpoint.adapter_tokenizer import choose_tokenizer
from archc.compiler.weights.checkpoint.adapters import AdapterOption, check_adapters, describe_adapters, open_adapters
from archc.compiler.weights.checkpoint.containers import (
    has_config,
    open_weights,
    own_overrides,
    read_checkpoint_config,
)
from archc.compiler.weights.checkpoint.folder import (
    GGUF,
    Source,
    is_checkpoint,
    open_source,
)
from archc.compiler.weights.checkpoint.generation import special_tokens
from archc.compiler.weights.checkpoint.hub import names_repository
from archc.compiler.weights.checkpoint.labels import describe_classes
from archc.compiler.weights.checkpoint.module_weights import open_checkpoint
from archc.compiler.weights.checkpoint.names import describe_widened, map_checkpoint, tied_slots, token_tables
from archc.compiler.weights.checkpoint.random_weights import RandomWeights
from archc.compiler.weights.checkpoint.sentence_modules import choose_pooler
from archc.compiler.weights.checkpoint.sizes import complete_config
from archc.compiler.weights.formats.coverage import check_coverage
from archc.compiler.weights.slots import Slots, parameter_slots, slot_shapes

DEFAULT_ENGINE = EngineOptions()


def warn_in_python(message: str) -> None:
    """Issue a warning of Python at the caller of `build`."""
    warnings.warn(message, stacklevel=3)


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
    tokenizer: str | Path | None = None,
    overrides: Sequence[str] = (),
    ignore_config: Sequence[str] = (),
    adapters: Sequence[str | Path] = (),
    progress: Progress = lambda name, done, total: None,
    warn: Callable[[str], None] = warn_in_python,
    trace: Trace = assemble,
) -> Path:
    """Build a plan, or an ONNX folder, from a spec and a checkpoint; return its path.

    `spec` is a shipped spec's name, a YAML file, or a checkpoint: a folder, a GGUF file, a file of weights or a hub id,
    whose config or tensors select the spec. `weights` is a checkpoint, too; from the hub, weights are fetched after the
    spec was bound. Without one, `random` is the seed of random weights. `dtype` defaults to the first that the target
    supports. `tokenizer` is a folder or a file that replaces the checkpoint's own tokenizer. `ignore_config` lists keys
    of config.json that count as absent. `adapters` are folders of LoRA adapters to merge, each with an optional factor:
    `DIR` or `DIR=0.5`. `engine` configures TensorRT targets. An existing `out` is replaced only if archc wrote it, and
    after any error it is unchanged. `warn` receives warnings, by default those of Python. `trace` returns the graphs of
    the model, which the build changes: a caller that builds one model several times may trace it once.

    Raises ArchspecError for a bad spec, config or weight table, BuildError for a bad checkpoint, option or output path,
    and PlanError if the plan cannot be written.
    """
    path = Path(out)
    options = choose_options(target, dtype, quantize, kv)
    merged = [AdapterOption.parse(adapter) for adapter in adapters]
    inputs = (spec, weights, tokenizer, *(adapter.folder for adapter in merged))
    check_destination(path, options.target.folder, inputs)
    builder = open_engine_builder(options, engine)

    source = choose_source(spec, weights, random)
    checkpoint = source.folder if source is not None else None
    if checkpoint is not None and (names_repository(spec) or (weights is None and is_checkpoint(spec))):
        spec = checkpoint
    check_adapters(checkpoint if random is None else None, merged, warn)
    if source is not None and not has_config(source.folder):
        source.fetch_weights()  # sizes are read off the tensors
    config = read_checkpoint_config(checkpoint) if checkpoint is not None else None
    stated = own_overrides(checkpoint) if checkpoint is not None else ()
    bound = bind(spec, config, size, (*stated, *overrides), ignore_config, source)
    pooler = choose_pooler(checkpoint, bound.topology, overrides)
    if pooler:
        bound = bind(spec, config, size, (*stated, *pooler, *overrides), ignore_config, source)
    overridden = [text.partition("=")[0].strip() for text in overrides]
    if tokenizer is None and checkpoint is not None:
        tokenizer = choose_tokenizer(checkpoint, merged, bound.text_settings, token_tables(bound), warn)
    texts, stop = text_files(checkpoint, tokenizer, bound.text_settings, overridden, warn)
    check_prefix(bound.prefix, bound.text_settings, texts, str(tokenizer or checkpoint))
    length = choose_length(bound, max_seq_len)
    model = meta_model(bound, TORCH_DTYPES[options.dtype])
    if source is not None and random is None:
        source.fetch_weights()
    slots = open_slots(bound, model, checkpoint if random is None else None, random, merged)

    lowered = lower(model, options, length, slots.find_groups, trace)
    stored = assign_offsets(*lowered.graphs.values())
    if note := check_coverage([item.weight for item in stored], options.quantization):
        warn(note)
    if note := describe_widened(slots, [item.weight for item in stored]):
        warn(f"{checkpoint}: {note}")
    graphs = {f"{name}.onnx": serialize(graph) for name, graph in lowered.graphs.items()}
    tokens = special_tokens(checkpoint, config, bound.embedding.vocab, bound.topology == "encoder-decoder")
    for text in tokens.warnings:
        warn(text)
    tokens = tokens.with_stop(stop, bound.embedding.vocab, chat_stop(texts, bound.text_settings))
    listener = Listener(progress, warn)
    answers = chat_format(texts, bound.text_settings)
    classes = describe_classes(bound.head, config, warn)
    tensors = [item.tensor for item in stored]
    manifest = describe(bound, options, lowered, tensors, tokens, builder, answers, classes)
    manifest.builder.update(describe_adapters(merged))

    if options.target.output == "optimum":
        texts = {**runtime_files(checkpoint, bound, manifest.state, length, tokens, warn), **texts}
    content = Content(graphs, stored, slots, texts)
    check_space(path, content.bytes)
    if builder is not None:
        return write_engine_plan(builder, path, content, manifest, listener)
    return (write_folder if options.target.folder else write_plan)(path, content, manifest, listener)


def open_engine_builder(options: BuildOptions, engine: EngineOptions) -> EngineBuilder | None:
    """Return the engine builder of a TensorRT target, or None for other targets.

    Raises BuildError if TensorRT is missing, or engine options were set for another target.
    """
    if options.target.engine:
        return open_builder(options.target.name, engine, options.quantization)
    refuse_options(options.target.name, engine)
    return None


def choose_source(spec: str | Path, weights: str | Path | None, random: int | None) -> Source | None:
    """Return the checkpoint: `weights`, or `spec` if that is a folder or a hub id; None for random weights.

    Raises BuildError if there are both a checkpoint and a seed, or neither; a spec that is not found is named first.
    """
    if weights is None and (is_checkpoint(spec) or names_repository(spec) or Path(spec).suffix == GGUF):
        weights = spec
    if weights is not None and random is not None and weights != spec:
        raise BuildError("--weights and --random contradict each other; remove one")
    if weights is not None:
        return open_source(weights)
    if random is None:
        if not find_spec(spec).exists():
            hint = "give a spec, a checkpoint folder, or a hub id owner/name[@revision]"
            raise BuildError(f"{spec}: no such file or folder; {hint}")
        raise BuildError("no weights; name a checkpoint with --weights, or use random weights with --random SEED")
    return None


def bind(
    spec: str | Path,
    config: dict[str, Any] | None,
    size: str | None,
    overrides: Sequence[str],
    ignore_config: Sequence[str] = (),
    source: Source | None = None,
) -> BoundSpec:
    """Return the spec with its sizes bound: by a config, and by the tensors of a checkpoint where the config has none.

    A checkpoint's spec is detected from its config, or from the names of its tensors.
    """
    if ignore_config and config is None:
        raise BuildError("--ignore-config has no effect without a checkpoint's config.json; remove it")
    loaded = load_spec(detect_family(Path(spec), config) if is_checkpoint(spec) else spec, overrides)
    place = "config.json"
    if source is not None and size is None:
        place = place if config is not None else str(source.folder)
        config = complete_config(loaded, config, source)
    return loaded.bind(config, size, place, ignore_config)


def detect_family(checkpoint: Path, config: dict[str, Any] | None) -> str:
    """Return the name of the shipped spec of a checkpoint, by its config and, in a folder, its tokenizer_config.json.

    Without a config, the names of the tensors select it. Raises ConfigError if not exactly one spec matches, and
    BuildError if tokenizer_config.json or the weights are damaged.
    """
    if config is None:
        return detect_by_tensors(open_weights(checkpoint).names(), str(checkpoint))
    if not checkpoint.is_dir():
        return detect_spec(config, str(checkpoint))
    return detect_spec(config, str(checkpoint / "config.json"), read_object(checkpoint / "tokenizer_config.json"))


def choose_length(spec: BoundSpec, max_seq_len: int | None) -> int:
    """Return the maximum sequence length of the plan: by default the context length.

    Raises BuildError if it exceeds the length that the model's positions allow.
    """
    longest = longest_sequence(spec)
    if max_seq_len is not None and not 1 <= max_seq_len <= longest:
        kind = "the context length" if longest == spec.context else "the longest sequence for the positions"
        raise BuildError(f"--max-seq-len {max_seq_len}: expected 1 to {longest}, {kind} of this model")
    return max_seq_len or spec.context


def open_slots(
    spec: BoundSpec, model: Model, folder: Path | None, random: int | None, adapters: Sequence[AdapterOption] = ()
) -> Slots:
    """Return the source of the model's weights: a checkpoint with adapters merged, or random numbers."""
    if random is not None or folder is None:
        return RandomWeights(slot_shapes(model), random or 0, model.zero_centred_norms())
    return map_checkpoint(spec, model, open_adapters(open_checkpoint(spec, folder), adapters), folder)


class SlotReader(Protocol):
    """A source of weights by slot name."""

    def read(self, name: str, /) -> Tensor:
        """Return one slot's tensor."""
        ...


def load_torch(model: Model, slots: SlotReader) -> Model:
    """Load weights into a model on the meta device, so that it runs in torch; return it in eval mode."""
    ties = tied_slots(model)
    weights = {
        name: _read_parameter(name, parts, slots).to(model.get_parameter(name).dtype)
        for name, parts in parameter_slots(model).items()
    }
    weights |= {name: weights[slot] for name, slot in ties.items()}
    model.load_state_dict(weights, assign=True)
    for name, slot in ties.items():
        owner, _, parameter = name.rpartition(".")
        setattr(model.get_submodule(owner), parameter, model.get_parameter(slot))
    return model.eval()


def _read_parameter(name: str, parts: Sequence[str], slots: SlotReader) -> Tensor:
    """Return a parameter's tensor: its slot, or its experts' slots stacked."""
    return slots.read(name) if parts == (name,) else torch.stack([slots.read(part) for part in parts])
