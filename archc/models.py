"""What there is to say about a model: from a spec, by way of the compiler, or from a plan, without it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.cli.report import Row, describe, module_tree, tensor_table, tree_lines
from archc.plan.dtypes import DTYPES
from archc.plan.manifest import ring_slots

if TYPE_CHECKING:
    from archc.archspec import BoundSpec, Spec
    from archc.archspec.vocabulary import GroupedQueryAttention, LatentAttention
    from archc.plan import Manifest, State

_SHOWN_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Listing:
    """A model as `archc inspect` shows it; `bound` is None where this archc cannot read the plan's spec."""

    kind: str
    family: str
    description: str
    topology: str
    context: int
    size: str | None
    rows: tuple[Row, ...]
    parameters: int
    weight_bytes: Mapping[str, int]  # by the model's dtype; none where all of them are inside engines
    state_per_token: Mapping[str, int]  # bytes that the state keeps for each token, by the model's dtype
    state_fixed: Mapping[str, int]  # those that it keeps whatever the length
    state_per_source_token: Mapping[str, int]  # and those for each token of the source
    flops_per_token: int
    bound: BoundSpec | None
    source_context: int = 0  # the longest source
    more: dict[str, Any] = field(default_factory=dict)  # what only plans have
    engines: Mapping[str, int] = field(default_factory=dict)  # engines' files and their bytes

    @property
    def attention_flops(self) -> int:
        """Operations that each live token adds to the next one's, in all layers."""
        if self.bound is None:
            return 0
        mixers = [layer.attention for layer in self.bound.layers if layer.attention is not None]
        return sum(_attention_flops(attention) for attention in mixers)

    @property
    def cross_flops(self) -> int:
        """Operations that each token of the source adds to every token's."""
        layers = self.bound.layers if self.bound is not None else ()
        crosses = [layer.cross_attention for layer in layers if layer.cross_attention is not None]
        return sum(4 * cross.heads * cross.head_dim for cross in crosses)

    def as_json(self) -> dict[str, Any]:
        """The same as one JSON object."""
        layers = [layer.model_dump(mode="json") for layer in self.bound.layers] if self.bound is not None else None
        tensors = [
            {"name": row.name, "shape": list(row.shape), "count": row.count}
            | ({"dtype": row.dtype} if row.dtype else {})
            | ({"checkpoint": row.source} if row.source else {})
            for row in self.rows
        ]
        return {
            "kind": self.kind,
            "family": self.family,
            "description": self.description,
            "topology": self.topology,
            "context": self.context,
            "size": self.size,
            "parameters": self.parameters,
            "weight_bytes": dict(self.weight_bytes),
            "state_bytes_per_token": dict(self.state_per_token),
            "state_bytes_fixed": dict(self.state_fixed),
            "flops_per_token": self.flops_per_token,
            "attention_flops_per_token_and_position": self.attention_flops,
            "config": dict(self.bound.config) if self.bound is not None else self.more.get("config"),
            "layers": layers,
            "tensors": tensors,
            **({"engine_bytes": dict(self.engines)} if self.engines else {}),
            **(self._of_source() if self.topology == "encoder-decoder" else {}),
            **self.more,
        }

    def _of_source(self) -> dict[str, Any]:
        """What there is to say of the encoder, and of what its source costs."""
        encoder = self.bound.encoder if self.bound is not None else None
        return {
            "source_context": self.source_context,
            "encoder_layers": [layer.model_dump(mode="json") for layer in encoder.layers] if encoder else None,
            "state_bytes_per_source_token": dict(self.state_per_source_token),
            "cross_flops_per_token_and_source_token": self.cross_flops,
        }

    def lines(self) -> list[str]:
        """The same as text."""
        size = f", size {self.size}" if self.size else ""
        lines = [f"{self.family}: {self.description}" if self.description else self.family]
        source = f", source {self.source_context:,}" if self.source_context else ""
        lines += [f"{self.topology}, context {self.context:,}{source}{size}", ""]
        if self.rows:
            lines += tree_lines(module_tree(self.rows), _words(self.bound) if self.bound is not None else {})
            lines += ["", *tensor_table(self.rows), ""]
        lines.append(f"{self.parameters:,} parameters")
        inside = " and ".join(f"{file} of {size:,} bytes" for file, size in self.engines.items())
        kept = _listed_bytes(self.weight_bytes)
        if not inside:
            lines.append(f"weights: {kept}")
        else:
            lines.append(f"weights: {f'{kept} beside the graph, and again ' if kept else ''}inside {inside}")
        if any(self.state_per_token.values()):
            lines.append(f"cache: {_listed_bytes(self.state_per_token)} for each token")
        if any(self.state_fixed.values()):
            lines.append(f"state: {_listed_bytes(self.state_fixed)} for each sequence")
        if any(self.state_per_source_token.values()):
            each = _listed_bytes(self.state_per_source_token)
            lines.append(f"cross-attention: {each} for each token of the source")
        lines.append(
            f"compute: {self.flops_per_token:,} FLOPs for each token"
            + (f", and {self.attention_flops:,} for each token that it attends to" if self.attention_flops else "")
            + (f", and {self.cross_flops:,} for each token of the source" if self.cross_flops else "")
        )
        return lines


def _listed_bytes(counts: Mapping[str, int]) -> str:
    """The bytes in each dtype that a model may have; those of a plan, whose tensors may differ, are just so many."""
    if len(counts) == 1:
        return f"{sum(counts.values()):,} bytes"
    return ", ".join(f"{count:,} bytes in {dtype}" for dtype, count in counts.items())


def required_names(spec: Spec) -> list[str]:
    """Config names that the spec gives no value, so that a size or a checkpoint has to."""
    given = spec.overrides.config
    return [name for name, entry in spec.names.config.items() if entry.required and name in spec.read - given.keys()]


def bind_some_size(spec: Spec, size: str | None) -> BoundSpec:
    """The spec at a size; without one, by its config's defaults, or else at the first of its sizes.

    Raises ArchspecError where it has neither.
    """
    if size is None and spec.sizes and required_names(spec):
        size = next(iter(spec.sizes))
    return spec.bind(size=size)


def list_spec(bound: BoundSpec, checkpoint: Path | None) -> Listing:
    """A bound spec's model; with a checkpoint's folder, also where each tensor comes from.

    Raises WeightsError and BuildError where the checkpoint does not fill the model.
    """
    from archc.compiler.contract.inputs_outputs import DTYPES as COMPILER_DTYPES
    from archc.compiler.contract.inputs_outputs import graph_state
    from archc.compiler.contract.shared_inputs import wire
    from archc.compiler.modules.cost import flops_per_token, parameter_count
    from archc.compiler.modules.model import meta_model
    from archc.compiler.weights.checkpoint.names import map_checkpoint
    from archc.compiler.weights.checkpoint.reader import Checkpoint
    from archc.compiler.weights.slots import slot_shapes

    model = meta_model(bound)
    sources: dict[str, str] = {}
    if checkpoint is not None:
        resolution = map_checkpoint(bound, model, Checkpoint(checkpoint), checkpoint).resolution
        sources = {slot: " + ".join(source.names) for slot, source in resolution.sources.items()}
    rows = tuple(Row(name, shape, source=sources.get(name)) for name, shape in slot_shapes(model).items())
    parameters = parameter_count(model)
    states_by_dtype = {name: graph_state(bound, wire(bound), COMPILER_DTYPES[name]) for name in _SHOWN_DTYPES}
    return Listing(
        kind="spec",
        family=bound.family,
        description=bound.description,
        topology=bound.topology,
        context=bound.context,
        size=bound.size,
        rows=rows,
        parameters=parameters,
        weight_bytes={name: parameters * DTYPES[name].nbytes(1) for name in _SHOWN_DTYPES},
        **_states(states_by_dtype),
        source_context=bound.encoder.context if bound.encoder is not None else 0,
        flops_per_token=flops_per_token(model),
        bound=bound,
    )


def list_plan(manifest: Manifest, bound: BoundSpec | None, more: dict[str, Any]) -> Listing:
    """A plan's model, from its manifest alone."""
    return Listing(
        kind="plan",
        family=manifest.family,
        description=bound.description if bound is not None else "",
        topology=manifest.topology,
        context=manifest.limits.max_seq_len,
        size=None,
        rows=tuple(Row(tensor.name, tensor.shape, tensor.dtype) for tensor in manifest.tensors),
        parameters=manifest.parameters,
        weight_bytes={manifest.dtype: sum(tensor.bytes for tensor in manifest.tensors)} if manifest.tensors else {},
        engines={
            part.engine.file: manifest.entries[part.engine.file].bytes
            for part in (manifest, manifest.encoder)
            if part is not None and part.engine is not None and part.engine.file in manifest.entries
        },
        **_states({manifest.dtype: manifest.state}, manifest.limits.max_call),
        source_context=manifest.encoder.limits.max_seq_len if manifest.encoder is not None else 0,
        flops_per_token=manifest.flops_per_token,
        bound=bound,
        more=more,
    )


def bind_plan(manifest: Manifest, where: str) -> BoundSpec:
    """The spec that a plan carries, at its sizes. Raises ArchspecError where this archc cannot read it."""
    from archc.archspec import load_spec_text

    return load_spec_text(manifest.spec, f"{where}: spec").bind(manifest.config, source=f"{where}: config")


def missing_entries(bound: BoundSpec, names: Iterable[str]) -> list[str]:
    """Slots that the spec's weight table has no entry for, those of all layers and experts as one."""
    from archc.archspec.weights.resolve import generic_key

    missing = {generic_key(name): None for name in names if bound.weights.find(name) is None}
    return list(missing)


def _states(by_dtype: Mapping[str, Iterable[State]], longest_call: int | None = None) -> dict[str, dict[str, int]]:
    """Bytes that one sequence keeps, by the model's dtype: for each token, for each of its source, and for all.

    A ring counts as large as it gets.
    """
    kept = {name: dict.fromkeys(by_dtype, 0) for name in ("state_per_token", "state_per_source_token", "state_fixed")}
    for dtype, states in by_dtype.items():
        for state in states:
            name = "state_per_token" if "capacity" in state.shape else "state_fixed"
            if "source" in state.shape:
                name = "state_per_source_token"
            numbers = math.prod(size for size in state.shape if isinstance(size, int))
            if state.window is not None:
                numbers *= ring_slots(state.window, longest_call)
            kept[name][dtype] += DTYPES[state.dtype].nbytes(numbers)
    return kept


def _attention_flops(attention: GroupedQueryAttention | LatentAttention) -> int:
    """Two operations for each number of a score's product and of a value's: 4 · heads · head_dim where both are heads.

    With a latent, a decoding step reads it in place of each head's key and of each head's value.
    """
    if attention.kind == "latent":
        return 2 * attention.heads * (2 * attention.latent + attention.rope_dim)
    return 4 * attention.heads * attention.head_dim


def _words(bound: BoundSpec) -> dict[str, str]:
    """What the spec says of each module, by the module's path."""
    words = {
        "embedding": describe(bound.embedding),
        "final_norm": describe(bound.final_norm),
        "head": describe(bound.head),
        "pooler": describe(bound.pooler),
    }
    if bound.encoder is not None:
        inner = {path: text for path, text in _words(bound.encoder).items() if path not in ("head", "pooler")}
        words |= {f"encoder.{path}": text for path, text in inner.items()}
    sets = bound.weight_sets
    sharers = Counter(sets)
    for index, layer in enumerate(bound.layers):
        path = f"layers.{index}"
        users = sharers[sets[index]]
        shared = f"shared by {users} layers; " if users > 1 else ""
        parts = {name: getattr(layer, name) for name in ("attention", "recurrence", "cross_attention", "mlp")}
        words[path] = shared + describe(layer.computation, without=tuple(parts))
        words |= {f"{path}.{name}": describe(word) for name, word in parts.items() if word is not None}
    return words
