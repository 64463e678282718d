"""The content of an `archc inspect` report, and its two forms: lines of text and one JSON object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archc.cli.inspect.module_tree import TensorRow, describe, module_tree, tensor_table, tree_lines

if TYPE_CHECKING:
    from archc.archspec import BoundSpec
    from archc.archspec.vocabulary import GroupedQueryAttention, LatentAttention


@dataclass(frozen=True)
class Listing:
    """A model as `archc inspect` shows it; `bound` is None if this archc cannot read the plan's spec."""

    kind: str
    family: str
    description: str
    topology: str
    context: int
    size: str | None
    rows: tuple[TensorRow, ...]
    parameters: int
    weight_bytes: Mapping[str, int]  # by dtype of the model; empty if all weights are inside engines
    state_per_token: Mapping[str, int]  # bytes of state per token, by dtype of the model
    state_fixed: Mapping[str, int]  # bytes of state that do not depend on the length
    state_per_source_token: Mapping[str, int]  # bytes of state per source token
    flops_per_token: int
    bound: BoundSpec | None
    outside: int  # tensors of the other parts of a multimodal checkpoint
    source_context: int = 0  # maximum source length of an encoder-decoder
    more: dict[str, Any] = field(default_factory=dict)  # the manifest, for plans
    engines: Mapping[str, int] = field(default_factory=dict)  # bytes by engine file

    @property
    def attention_flops(self) -> int:
        """FLOPs per token and attended position, all layers together."""
        if self.bound is None:
            return 0
        mixers = [layer.attention for layer in self.bound.layers if layer.attention is not None]
        return sum(attention_flops(attention) for attention in mixers)

    @property
    def cross_flops(self) -> int:
        """FLOPs per token and source token, all layers together."""
        layers = self.bound.layers if self.bound is not None else ()
        crosses = [layer.cross_attention for layer in layers if layer.cross_attention is not None]
        return sum(4 * cross.heads * cross.head_dim for cross in crosses)

    def as_json(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
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
            **({"tensors_of_other_parts": self.outside} if self.outside else {}),
            **({"engine_bytes": dict(self.engines)} if self.engines else {}),
            **(self._encoder_json() if self.topology == "encoder-decoder" else {}),
            **self.more,
        }

    def _encoder_json(self) -> dict[str, Any]:
        encoder = self.bound.encoder if self.bound is not None else None
        return {
            "source_context": self.source_context,
            "encoder_layers": [layer.model_dump(mode="json") for layer in encoder.layers] if encoder else None,
            "state_bytes_per_source_token": dict(self.state_per_source_token),
            "cross_flops_per_token_and_source_token": self.cross_flops,
        }

    def lines(self, tensors: bool = False) -> list[str]:
        """Return the report as text, with a table of all tensors if asked for."""
        size = f", size {self.size}" if self.size else ""
        source = f", source {self.source_context:,}" if self.source_context else ""
        lines = [f"{self.family}: {self.description}" if self.description else self.family]
        lines += [f"{self.topology}, context {self.context:,}{source}{size}", ""]
        if self.rows:
            lines += tree_lines(module_tree(self.rows), _descriptions(self.bound) if self.bound is not None else {})
            lines += ["", *(tensor_table(self.rows) if tensors else ()), *([""] if tensors else ())]
        lines += [f"{self.parameters:,} parameters", f"weights: {self._weights()}"]
        if self.outside:
            lines.append(f"not read: {self.outside:,} tensors of the other parts of a multimodal checkpoint")
        for title, counts, unit in (
            ("cache", self.state_per_token, "token"),
            ("state", self.state_fixed, "sequence"),
            ("cross-attention", self.state_per_source_token, "source token"),
        ):
            if any(counts.values()):
                lines.append(f"{title}: {_bytes(counts)} per {unit}")
        flops = [f"{self.flops_per_token:,} FLOPs per token"]
        flops += [f"{self.attention_flops:,} per attended token"] if self.attention_flops else []
        flops += [f"{self.cross_flops:,} per source token"] if self.cross_flops else []
        return [*lines, f"compute: {', plus '.join(flops)}"]

    def _weights(self) -> str:
        graph = _bytes(self.weight_bytes)
        inside = " and ".join(f"{file} of {size:,} bytes" for file, size in self.engines.items())
        if not inside:
            return graph
        return f"{graph} next to the graph, and again inside {inside}" if graph else f"inside {inside}"


def _bytes(counts: Mapping[str, int]) -> str:
    """Return the bytes for each dtype; a plan has one dtype, which its tensors may differ from, so it is left out."""
    if len(counts) == 1:
        return f"{sum(counts.values()):,} bytes"
    return ", ".join(f"{count:,} bytes in {dtype}" for dtype, count in counts.items())


def attention_flops(attention: GroupedQueryAttention | LatentAttention) -> int:
    """Return two FLOPs per element of the score's and the value's product: 4 · heads · head_dim for plain heads.

    With a latent, a decoding step reads the latent in place of each head's key and value.
    """
    if attention.kind == "latent":
        return 2 * attention.heads * (2 * attention.latent + attention.rope_dim)
    return 2 * attention.heads * (attention.head_dim + attention.cached_value_width)


def _descriptions(bound: BoundSpec) -> dict[str, str]:
    """Return the spec's description of each module, by the module's path."""
    described = {
        "embedding": describe(bound.embedding),
        "final_norm": describe(bound.final_norm),
        "head": describe(bound.head),
        "pooler": describe(bound.pooler),
    }
    if bound.encoder is not None:
        inner = {path: text for path, text in _descriptions(bound.encoder).items() if path not in ("head", "pooler")}
        described |= {f"encoder.{path}": text for path, text in inner.items()}
    sets = bound.weight_sets
    sharers = Counter(sets)
    for index, layer in enumerate(bound.layers):
        path = f"layers.{index}"
        users = sharers[sets[index]]
        shared = f"shared by {users} layers; " if users > 1 else ""
        parts = {name: getattr(layer, name) for name in ("attention", "recurrence", "cross_attention", "mlp")}
        described[path] = shared + describe(layer.computation, without=tuple(parts))
        described |= {f"{path}.{name}": describe(word) for name, word in parts.items() if word is not None}
    return described
