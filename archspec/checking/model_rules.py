"""Rules for a whole bound model: combinations of sections, and of layers, that have no meaning or are not supported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archc.archspec.checking.embedding_rules import embedding_faults
from archc.archspec.checking.fault import Fault
from archc.archspec.checking.front_rules import front_set_faults
from archc.archspec.checking.indexer_rules import earlier_indexer_faults
from archc.archspec.checking.layer_rules import layer_faults
from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.vocabulary import (
    BlockRope,
    ClassesHead,
    DeltaRule,
    Disentangled,
    Embedding,
    FourierMixing,
    GatedStreams,
    LatentAttention,
    Layer,
    Learned,
    LmHead,
    MlmHead,
    NoHead,
    NoNorm,
    NoPooler,
    RelativeBuckets,
    Rope,
    Sinusoidal,
    ValueMix,
    ValueSource,
    VectorHead,
    kv_sources,
    weight_sets,
)

_USE_ENCODER_DECODER = "set `topology: encoder-decoder`, or remove the key"


def check_rules(model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of a bound model, the fields of a BoundSpec; a fault of several layers once, with its first."""
    yield from _faults_of_layers(model)
    yield from _weight_set_faults(model["layers"])
    yield from front_set_faults(model["layers"])
    yield from embedding_faults(model)
    yield from norm_faults(model["final_norm"], "final_norm")
    if isinstance(model["head"], MlmHead):
        yield from _mlm_faults(model["head"], model["embedding"])
    if isinstance(model["head"], ClassesHead):
        yield from _classes_faults(model["head"])
    if isinstance(model["head"], LmHead):
        yield from _rows_faults(model["head"], model["embedding"].vocab)
    yield from _encoder_faults(model)
    yield from _topology_faults(model)
    yield from _value_residual_faults(model["layers"])
    yield from _shared_cache_faults(model["layers"])
    yield from _learned_frequency_faults(model["layers"])
    yield from earlier_indexer_faults(model["layers"])
    yield from _per_layer_faults(model["embedding"], model["layers"])
    yield from _position_faults(model)
    before = [False, *(layer.shortcut is not None for layer in model["layers"])]
    after = [*(layer.adds_shortcut for layer in model["layers"]), False]
    if before != after:
        message = f"layer {next(index for index, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)}"
        hint = "set `layer.adds_shortcut` in the layer after each one with a `shortcut`, and in no other"
        path = "shortcut" if any(before) else "layer.adds_shortcut"
        yield path, f"{message} does not agree with the layer before", hint
    if len({layer.streams for layer in model["layers"]}) > 1:
        yield "layer.streams", "layers have different streams", "use the same section in all layers"
    if isinstance(model["layers"][0].streams, GatedStreams) and not isinstance(model["final_norm"], NoNorm):
        yield "final_norm", "gated streams are normed where the head reads them", "set `final_norm: none`"


def _faults_of_layers(model: Mapping[str, Any]) -> Iterator[Fault]:
    reported_paths: set[str] = set()
    checked_layers: set[int] = set()
    for index, layer in enumerate(model["layers"]):
        if id(layer) in checked_layers:
            continue
        checked_layers.add(id(layer))
        for path, message, hint in layer_faults(layer, model):
            if path not in reported_paths:
                reported_paths.add(path)
                yield path, f"{message} (layer {index})" if index else message, hint


def _topology_faults(model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of heads, poolers and prefixes that the topology does not support."""
    is_encoder = model["topology"] == "encoder"
    if not is_encoder and not isinstance(model["pooler"], NoPooler):
        message = "a pooler is not supported in a decoder, whose first token attends to itself only"
        yield "pooler", message, "use `topology: encoder`, and `direction: past` for causal masks"
    if not is_encoder and model["direction"] == "both":
        message = "attention in both directions is not supported with a cache, whose keys are past ones"
        yield "direction", message, "use `topology: encoder`"
    if not is_encoder and isinstance(model["head"], ClassesHead):
        message = "classes are not supported with a cache, whose calls read parts of a text"
        yield "head", message, "use `topology: encoder`, and `direction: past` for causal masks"
    if not is_encoder and isinstance(model["head"], VectorHead):
        message = "vectors of tokens are not supported in a decoder, whose logits choose the next token"
        yield "head", message, "use `topology: encoder`, and `direction: past` for causal masks"
    if not is_encoder and isinstance(model["head"], NoHead):
        yield "head", "a decoder requires a head, whose logits choose the next token", "use `kind: lm`"
    if all(
        layer.attention is None and layer.recurrence is None and not isinstance(layer.mixing, FourierMixing)
        for layer in model["layers"]
    ):
        yield "attention", "no layer has a token mixer", "add attention or a recurrence to one of them"
    if any(isinstance(layer.position, BlockRope) for layer in model["layers"]) and model["prefix"] is None:
        yield "position", "block-rope requires `prefix`, which marks the begin of the generated block", "add `prefix:`"
    if model["prefix"] is not None and model["topology"] != "decoder":
        yield "prefix", "the attention of an encoder is bidirectional already", "remove the section"


def _mlm_faults(head: MlmHead, embedding: Embedding) -> Iterator[Fault]:
    """Yield the faults of a masked-language-model head."""
    yield from norm_faults(head.norm, "head.norm")
    width = embedding.table_width or embedding.width
    if head.tie and head.width not in (None, width):
        message = f"the token table, which the head shares, has the width {width}, got {head.width}"
        yield "head.width", message, "remove the key, or set `head.tie: false`"


def _rows_faults(head: LmHead, tokens: int) -> Iterator[Fault]:
    """Yield the faults of a head with a number of rows of its own."""
    if head.vocab is not None and head.vocab > tokens:
        yield "head.vocab", f"expected at most the {tokens} tokens of the embedding, got {head.vocab}", "use fewer"
    if head.tie and head.vocab not in (None, tokens):
        yield "head.vocab", "a tied head has the rows of the token table", "set `tie: false`, or remove the key"


def _classes_faults(head: ClassesHead) -> Iterator[Fault]:
    """Yield the faults of a head with keys that contradict each other or have no effect."""
    yield from norm_faults(head.norm, "head.norm")
    if head.per == "sequence" and head.pool is None:
        yield "head.pool", "scores of a sequence require a pooling", "use cls, last, mean, max, weighted or eos"
    if head.per != "sequence" and head.pool is not None:
        yield "head.pool", f"scores of each {head.per} have no pooling", "remove the key"
    if head.order == "after" and (head.pool is None or head.dense is None):
        yield "head.order", "a pooling has an order if there is a dense layer", "add both, or remove the key"
    if (head.pool == "eos") != (head.end_token is not None):
        yield "head.end_token", "expected the id of a token with `pool: eos`, and no other pooling", "set both or none"
    if head.per == "span" and head.labels != 2:
        message = f"a span has 2 scores of each token, its begin and its end, got {head.labels} labels"
        yield "head.labels", message, "use 2, or `per: token`"


def _position_faults(model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of position encodings that all layers share."""
    layers = model["layers"]
    for kind, name in ((Learned, "learned"), (Sinusoidal, "sinusoidal")):
        added = [isinstance(layer.position, kind) for layer in layers]
        if any(added) and (not all(added) or len({layer.position for layer in layers}) > 1):
            message = f"{name} positions are added to the embedding and cannot differ by layer"
            yield "position", message, "use one position for all layers"
    width = model["embedding"].width
    if isinstance(layers[0].position, Sinusoidal) and width % 2:
        message = f"sinusoidal positions are pairs of a sine and a cosine, but the width is {width}"
        yield "embedding.width", message, "use an even width"
    if isinstance(layers[0].position, Sinusoidal) and layers[0].position.spacing == "closed" and width < 4:
        message = f"a closed series has at least two frequencies, but the width is {width}"
        yield "embedding.width", message, "use a width of at least 4, or `spacing: half-open`"
    shared_tables = {
        (layer.position, layer.attention.heads)
        for layer in layers
        if layer.attention is not None
        and isinstance(layer.position, RelativeBuckets)
        and layer.position.table == "shared"
    }
    if len({layer.position for layer in layers if isinstance(layer.position, Disentangled)}) > 1:
        message = "layers share one table of relative positions, and their sections differ"
        yield "position", message, "use the same section in all layers that have one"
    if len(shared_tables) > 1:
        message = "layers with different buckets or heads cannot share a table"
        yield "position.table", message, "use `table: per-layer`"


def _encoder_faults(model: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the faults of the encoder, and of sections that only an encoder-decoder has."""
    encoder = model["encoder"]
    if model["topology"] != "encoder-decoder":
        has_cross_attention = any(layer.cross_attention is not None for layer in model["layers"])
        for path, is_present in (("encoder", encoder is not None), ("cross_attention", has_cross_attention)):
            if is_present:
                message = f"the section requires an encoder-decoder, and the topology is {model['topology']}"
                yield path, message, _USE_ENCODER_DECODER
        return
    if encoder is None:
        message = "an encoder-decoder requires an encoder"
        yield "encoder", message, "remove the key to inherit the decoder's sections"
        return
    if any(layer.cross_attention is None for layer in model["layers"]):
        message = "decoder layers without cross-attention are not supported"
        yield "cross_attention", message, "remove the key to inherit the keys of `attention`"
    for path, message, hint in check_rules(encoder):
        yield f"encoder.{path}", message, hint
    if encoder["embedding"].token_dropout is not None:
        message = "token dropout is not supported in the encoder of an encoder-decoder"
        yield "encoder.embedding.token_dropout", message, "remove the key"
    for path, present in (
        ("layer.convolution", any(layer.convolution is not None for layer in encoder["layers"])),
        ("attention.convolution", any(getattr(layer.attention, "convolution", None) for layer in encoder["layers"])),
        (
            "attention.span_convolution",
            any(getattr(layer.attention, "span_convolution", None) for layer in encoder["layers"]),
        ),
        ("mixing", any(isinstance(layer.mixing, FourierMixing) for layer in encoder["layers"])),
    ):
        if present:
            yield f"encoder.{path}", "the section is not supported in the encoder of an encoder-decoder", "remove it"
    for key in ("vocab", "width", "table_width"):
        decoder_size, encoder_size = getattr(model["embedding"], key), getattr(encoder["embedding"], key)
        if model["ties_encoder"] and decoder_size != encoder_size:
            message = f"expected {decoder_size} as in the decoder, whose token table is shared, got {encoder_size}"
            yield f"encoder.embedding.{key}", message, "set `encoder.tie: false`"


def _weight_set_faults(layers: Sequence[Layer]) -> Iterator[Fault]:
    """Yield the first pair of layers that share weights and compute different functions."""
    first: dict[int, int] = {}
    for index, weight_set in enumerate(weight_sets(layers)):
        other = first.setdefault(weight_set, index)
        if other < index and layers[other].computation != layers[index].computation:
            message = f"layers {other} and {index} share weights but differ in their sections"
            yield "layer.weights", message, "use the same sections, or separate weight sets"
            return


def _learned_frequency_faults(layers: Sequence[Layer]) -> Iterator[Fault]:
    """Yield the fault of layers with different rotary embeddings, whose learned factors would not be the same."""
    learned = {
        (layer.position, layer.attention.rotating_dim)
        for layer in layers
        if isinstance(layer.position, Rope) and layer.position.learned and layer.attention is not None
    }
    if len(learned) > 1:
        message = "layers with different rotary embeddings share no learned factors"
        yield "position.learned", message, "use one, or set it to false"


def _shared_cache_faults(layers: Sequence[Layer]) -> Iterator[Fault]:
    """Yield the first layer whose keys and values no earlier layer has."""
    for index, source in kv_sources(layers).items():
        if source is None:
            if isinstance(layers[index].attention, LatentAttention):
                message = f"layer {index} has no earlier layer of this index with latents of its position and size"
                yield "attention.latents_of", message, "use another index, or none"
                return
            message = f"no layer before layer {index} has keys and values of this window, position and size"
            yield "attention.keys_values", message, "use own, or the same sizes in an earlier layer"
            return


def _per_layer_faults(embedding: Embedding, layers: Sequence[Layer]) -> Iterator[Fault]:
    """Yield the faults of a per-layer embedding that no layer reads, or that layers read and the model lacks."""
    reads = [layer.embedding_branch is not None for layer in layers]
    if embedding.per_layer is None:
        if any(reads):
            message = "the embedding has no vectors for layers"
            yield "layer.embedding_branch", message, "add `embedding.per_layer`, or remove the key"
        return
    yield from norm_faults(embedding.per_layer.norm, "embedding.per_layer.norm")
    if not all(reads):
        message = f"layer {reads.index(False)} does not read its vector"
        yield "embedding.per_layer", message, "add `layer.embedding_branch`, or remove the key"


def _value_residual_faults(layers: Sequence[Layer]) -> Iterator[Fault]:
    """Yield the faults of value residuals that have no source of the same width, or a source that no layer reads."""
    path, source_width, is_read = "recurrence.value_residual", None, True
    for index, layer in enumerate(layers):
        recurrence = layer.recurrence
        if not isinstance(recurrence, DeltaRule):
            continue
        width = recurrence.heads * recurrence.head_dim
        if isinstance(recurrence.value_residual, ValueSource):
            if not is_read:
                break
            source_width, is_read = width, False
        elif isinstance(recurrence.value_residual, ValueMix):
            if source_width != width:
                source = "no earlier layer is a source" if source_width is None else f"the source has {source_width}"
                message = f"layer {index} reads values of {width} channels, but {source}"
                yield path, message, "set `kind: give` in an earlier layer of this width"
                return
            is_read = True
    if not is_read:
        yield path, "no later layer reads the values", "remove the key, or set `kind: take` in a later layer"
