"""Parameters of a whole model and of its layers; the names are the slots of weight tables.

The counterpart of the constructors in `archc.compiler.modules`; a test compares both for every shipped spec.
"""

from __future__ import annotations

from dataclasses import replace

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.archspec.vocabulary.layer_norms import layer_norms, norm_gate
from archc.compiler.contract.inputs_outputs import hidden_width
from archc.compiler.contract.shared_inputs import find_shared_inputs, rotary_dim
from archc.compiler.structure.attention import attention, cross_attention
from archc.compiler.structure.ends import embedding, head, pooler
from archc.compiler.structure.mlp import mlp
from archc.compiler.structure.part import Part, activation, linear, norm, part
from archc.compiler.structure.recurrence import recurrence
from archc.compiler.structure.streams import joined_streams, layer_streams, ngram_memory


def structure(spec: BoundSpec, shares_tokens: bool = False) -> Part:
    """Return the parts of a bound spec; layers that share weights are the first of them."""
    width = spec.embedding.width
    streams = spec.layers[0].streams
    source_width = spec.encoder.embedding.width if spec.encoder is not None else 0
    vector = spec.embedding.per_layer.width if spec.embedding.per_layer is not None else 0
    sets: dict[int, int] = {}
    layers: dict[str, Part] = {}
    repeated = 0
    fronts, shared = words.front_sets(spec.layers), set[int | None]()
    for index, (number, word) in enumerate(zip(spec.weight_sets, spec.layers, strict=True)):
        if number in sets:
            repeated += layers[str(sets[number])].total_flops
            continue
        sets[number] = index
        layer = _layer(word, width, source_width, vector, spec.embedding.vocab)
        front = fronts[index] if word.front is not None else None
        layers[str(index)] = _behind_shared_front(layer) if front in shared else layer
        shared |= {front} - {None}
    return part(
        embedding=embedding(spec, shares_tokens),
        encoder=structure(spec.encoder, spec.ties_encoder).without_flops() if spec.encoder is not None else None,
        **_relative(spec, width),
        layers=Part({}, layers, repeated),
        final_streams=joined_streams(streams, width),
        final_norm=norm(spec.final_norm, width),
        head=head(spec),
        pooler=pooler(spec.pooler, hidden_width(spec)),
    )


def _behind_shared_front(layer: Part) -> Part:
    """Return a layer whose front block has the weights of an earlier one: its adapters and its projection are left."""

    def without(inner: Part) -> Part:
        parts = {name: each if name == "adapter" else without(each) for name, each in inner.parts.items()}
        return Part({}, parts, inner.flops, inner.repeats)

    front = layer.parts["front"]
    parts = {
        name: without(each) if name in ("attention", "mlp", "mlp_norm") else each for name, each in layer.parts.items()
    }
    parts["front"] = replace(front, parts={**front.parts, "norm": without(front.parts["norm"])})
    return replace(layer, parts=parts)


def _relative(spec: BoundSpec, width: int) -> dict[str, Part | None]:
    """Return the learned factors of frequencies and the tables of relative positions that layers share."""
    shared = find_shared_inputs(spec)
    biases = [
        part({"weight": (word.buckets, heads)})
        for name, heads in shared.relative_biases.values()
        if isinstance(word := shared.buckets[name].word, words.RelativeBuckets)
    ]
    tables = [
        part({"weight": (2 * word.span, width)}, norm=norm(word.norm, width))
        for word in shared.relative_tables.values()
    ]
    learned = [
        part({"logs": (rotary_dim(rope, head_dim) // 2,)})
        for rope, head_dim in shared.ropes.values()
        if isinstance(rope, words.Rope) and rope.learned
    ]
    return {
        "relative_bias": next(iter(biases), None),
        "rotary": next(iter(learned), None),
        "relative_table": next(iter(tables), None),
    }


def _layer(word: words.Layer, width: int, source_width: int, vector: int, vocab: int) -> Part:
    cross, branch = word.cross_attention, word.embedding_branch
    mixes = any(each is not None for each in (word.mixing, word.attention, word.recurrence))
    return part(
        {
            "mixer_skip": (width,) if word.skip.learned and mixes else None,
            "mlp_skip": (width,) if word.skip.learned and word.mlp is not None else None,
            "output_scale": (1,) if word.output_scale else None,
        },
        attention=attention(word.attention, word.position, width, width if word.front is None else 2 * width)
        if word.attention is not None
        else None,
        recurrence=recurrence(word.recurrence, width) if word.recurrence is not None else None,
        mixing=part(projection=linear(width, width, word.mixing.bias))
        if isinstance(word.mixing, words.LinearMixing)
        else None,
        cross_attention=cross_attention(cross, width, source_width) if cross is not None else None,
        mlp=mlp(word.mlp, width, vocab) if word.mlp is not None else None,
        shortcut=mlp(word.shortcut, width, vocab) if word.shortcut is not None else None,
        **_norms(word, width),
        front=part(norm=norm(word.norm, 2 * width), projection=linear(width, width, False))
        if word.front is not None
        else None,
        embedding_branch=part(
            activation=activation(branch.activation),
            gate=linear(width, vector, False),
            output=linear(vector, width, False),
            norm=norm(branch.norm, width),
        )
        if branch is not None
        else None,
        adapter=mlp(word.adapter, width) if word.adapter is not None else None,
        convolution=part(
            projection=linear(width * word.convolution.kernel, width, True), norm=norm(word.convolution.norm, width)
        )
        if word.convolution is not None
        else None,
        laurel=part(
            down=linear(width, word.laurel.rank, False),
            up=linear(word.laurel.rank, width, False),
            norm=norm(word.laurel.norm, width),
        )
        if word.laurel is not None
        else None,
        **layer_streams(word, width),
        ngram_memory=ngram_memory(word, vocab, width),
    )


def _norms(word: words.Layer, width: int) -> dict[str, Part | None]:
    """Return the norms of a layer, with their gates."""
    norms: dict[str, Part | None] = {}
    for name, each in layer_norms(word).items():
        gate = norm_gate(word, name)
        norms[name] = norm(each, width)
        if gate is not None:
            low_rank = {"down": linear(width, gate.rank, False), "up": linear(gate.rank, width, False)}
            norms[name] = part(norm=norms[name], **low_rank)
    return norms
