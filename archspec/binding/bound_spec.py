"""The bound spec, the result of the language and the only input of the compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from archc.archspec.vocabulary import Embedding, Head, Layer, Norm, Pooler, Prefix, Text, weight_sets
from archc.archspec.weights.resolve import BoundWeights


@dataclass(frozen=True)
class BoundSpec:
    """A spec with all sizes known."""

    family: str
    description: str
    topology: Literal["decoder", "encoder", "encoder-decoder"]
    direction: Literal["past", "both"] | None  # None: both in an encoder, otherwise past
    context: int
    embedding: Embedding
    layers: tuple[Layer, ...]
    final_norm: Norm
    head: Head
    pooler: Pooler
    prefix: Prefix | None
    encoder: BoundSpec | None  # of an encoder-decoder, whose other fields are the decoder's; its topology is `encoder`
    ties_encoder: bool  # the encoder uses the decoder's token table
    text_settings: Text  # tokenizer and chat format where the checkpoint's files do not define them
    config: Mapping[str, Any]  # the values of all config names that are read, as JSON types
    weights: BoundWeights
    text: str  # the spec as self-contained YAML
    size: str | None
    overrides: tuple[str, ...]

    @property
    def weight_sets(self) -> tuple[int, ...]:
        """Return the index of each layer's weight set."""
        return weight_sets(self.layers)
