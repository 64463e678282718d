"""The longest sequence that a model's position encodings allow."""

from __future__ import annotations

from archc.archspec.binding.bound_spec import BoundSpec
from archc.archspec.vocabulary import (
    Alibi,
    Disentangled,
    DynamicScaling,
    Layer,
    LinearScaling,
    NoPosition,
    RelativeBuckets,
    Rope,
)
from archc.archspec.vocabulary.position import YarnScaling

NO_LIMIT = 2**20


def longest_sequence(spec: BoundSpec) -> int:
    """Return the most tokens that every layer's positions allow, at least `context`; NO_LIMIT is the largest result.

    Relative, ALiBi and dynamically scaled positions have no limit; that of YaRN and linear scaling is factor × trained
    length.
    """
    if spec.embedding.positions is not None:
        return spec.context
    return max(spec.context, min(NO_LIMIT, *(_limit(layer, spec.context) for layer in set(spec.layers))))


def source_length(spec: BoundSpec, length: int) -> int:
    """Return the most tokens of an encoder-decoder's source in a plan of that maximum length.

    It is the encoder's `context`, and more in a longer plan if the encoder's positions allow it.
    """
    assert spec.encoder is not None
    return max(spec.encoder.context, min(length, longest_sequence(spec.encoder)))


def _limit(layer: Layer, context: int) -> int:
    position = layer.position
    if isinstance(position, Alibi | RelativeBuckets | Disentangled | NoPosition):
        return NO_LIMIT
    scaling = position.scaling if isinstance(position, Rope) else None
    if isinstance(scaling, DynamicScaling):
        return NO_LIMIT
    if isinstance(scaling, LinearScaling):
        return int(scaling.factor * context)
    if isinstance(scaling, YarnScaling):
        return int(scaling.factor * scaling.original_max_position_embeddings)
    return context
