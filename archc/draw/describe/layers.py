"""Layers by kind: equal blocks are one kind, whose numbers and tags may differ from layer to layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from archc.archspec import vocabulary as words
from archc.archspec.vocabulary.layer_norms import CROSS, CROSS_OUTPUT, MIXER, MIXER_OUTPUT, MLP, MLP_OUTPUT, layer_norms
from archc.draw.describe.blocks import MOST_VARIANTS, Block, Branch, Cell, Formula, Kind, LayerKind, Step, Variant
from archc.draw.describe.merging import differing_texts, merge_blocks, merge_texts, skeleton, without_numbers
from archc.draw.describe.mixers import cross_block, mixer_block
from archc.draw.describe.mlps import mlp_block
from archc.draw.describe.words import activation_name, factor, further_tags, norm_name, real, whole

# The keys of a layer that are drawn.
_KNOWN = (
    "weights norm residual skip branch_scale mlp_branch_scale embedding_branch output_scale convolution position "
    "attention recurrence mixing mixers cross_attention mlp laurel streams ngram_memory adds_shortcut"
)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def layer_kinds(layers: Sequence[words.Layer], width: int, causal: bool) -> tuple[tuple[LayerKind, ...], list[Cell]]:
    """Return the kinds of a stack's layers, in the order of their first layers, and the cell of each layer."""
    described: dict[words.Layer, LayerKind] = {}
    members: dict[object, dict[LayerKind, list[int]]] = {}
    for index, layer in enumerate(layers):
        word = layer.computation
        if word not in described:
            described[word] = _describe(word, width, causal)
        kind = described[word]
        members.setdefault(_shape(kind), {}).setdefault(kind, []).append(index)
    windows = {getattr(layer.attention, "window", None) is None for layer in layers if layer.attention is not None}
    has_both = len(windows) > 1  # a layer with a window has a lighter color than one with all keys
    kinds: list[LayerKind] = []
    cells: dict[int, Cell] = {}
    for number, variants in enumerate(members.values()):
        letter = _LETTERS[number] if number < len(_LETTERS) else f"{_LETTERS[-1]}{number}"
        kinds.append(_join(letter, variants))
        for shade, (_, indices) in enumerate(_by_shade(variants)):
            own = shade if len(variants) <= MOST_VARIANTS else 0
            if has_both and own == 0 and getattr(layers[indices[0]].attention, "window", None) is not None:
                own = 1
            cells |= {index: _cell(letter, layers[index], own) for index in indices}
    return tuple(kinds), [cells[index] for index in range(len(layers))]


def _describe(layer: words.Layer, width: int, causal: bool) -> LayerKind:
    """Return a kind of one layer, without its letter and its index."""
    norms = layer_norms(layer)
    placement = getattr(layer.norm, "placement", "pre")
    shared = norms[MIXER] if getattr(layer.norm, "shared", False) and MIXER in norms else None
    adds_positions = isinstance(layer.position, words.Learned | words.Sinusoidal)

    def branch(body: Block, before: str, after: str, scale: float | None, skip: float | None) -> Branch:
        norm_before = _norm_block(body.name, norms[before]) if before in norms and shared is None else None
        norm_after = _norm_block(f"{body.name}_output", norms[after]) if after in norms else None
        to_sum, kept = (factor(value, width) if value not in (None, 1.0) else "" for value in (scale, skip))
        if isinstance(layer.streams, words.HyperConnections | words.GatedStreams):
            count, mixed = layer.streams.count, ", mixed" if getattr(layer.streams, "mixing", None) is not None else ""
            mean = "gated mean" if isinstance(layer.streams, words.GatedStreams) else "weighted sum"
            body = replace(body, tags=(*body.tags, f"reads a {mean} of {count} streams"))
            to_sum, kept = " ".join([*([to_sum] if to_sum else []), "to each stream"]), f"of {count} streams{mixed}"
        return Branch(body, norm_before, norm_after, to_sum, kept)

    branches: list[Branch] = []
    if layer.ngram_memory is not None:
        branches.append(Branch(_memory_block(layer.ngram_memory)))
    scale, skip = layer.branch_scale, layer.skip.scale
    mixer = mixer_block(layer, width, adds_positions, causal)
    if mixer is not None:
        tags = [f"LAuReL rank {layer.laurel.rank}"] if layer.laurel is not None else []
        tags += [f"one of {layer.streams.count} streams"] if isinstance(layer.streams, words.AltUp) else []
        branches.append(branch(replace(mixer, tags=(*mixer.tags, *tags)), MIXER, MIXER_OUTPUT, scale, skip))
    if layer.cross_attention is not None:
        branches.append(branch(cross_block(layer.cross_attention, width), CROSS, CROSS_OUTPUT, scale, skip))
    if layer.mlp is not None:
        own = layer.mlp_branch_scale if layer.mlp_branch_scale is not None else scale
        own_skip = layer.skip.mlp_scale if layer.skip.mlp_scale is not None else skip
        branches.append(branch(mlp_block(layer.mlp, width), MLP, MLP_OUTPUT, own, own_skip))
    if layer.embedding_branch is not None:
        word = layer.embedding_branch
        body = Block("embedding_branch", "table", "Per-layer embedding", f"{activation_name(word.activation)} gate")
        branches.append(Branch(body, after=_norm_block("embedding_branch_output", word.norm)))
    return LayerKind(
        letter="",
        layers=(),
        branches=tuple(branches),
        arrangement=layer.residual,
        norms_after_sum=placement == "post",
        shared_norm=_norm_block("shared", shared) if shared is not None else None,
        skips_norm=layer.skip.source == "norm",
        output_scale=layer.output_scale,
        extras=_extras(layer),
    )


def _memory_block(memory: words.NgramMemory) -> Block:
    """Return the block of a memory of n-grams."""
    tables = (memory.order - 1) * memory.heads
    rows = (
        Step(f"hashes of 2 to {memory.order} tokens → {tables} rows of {whole(memory.width // tables)}"),
        Formula("σ(±√|key · stream|) ⊙ value"),
        Step(f"+ convolution of {memory.kernel} taps, {memory.order} apart"),
    )
    return Block("memory", "table", "n-gram memory", f"{tables} tables ≥ {whole(memory.rows)}", rows)


def _extras(layer: words.Layer) -> tuple[Block, ...]:
    """Return what follows the branches: a convolution of the layer's input, and keys without a drawing."""
    blocks: list[Block | None] = []
    convolution = layer.convolution
    if convolution is not None:
        name = activation_name(convolution.activation) if convolution.activation != "none" else ""
        row = Step(f"kernel {convolution.kernel}{f', {name}' if name else ''}, of the layer's input")
        blocks += [
            Block("convolution", "mixing", "+ convolution", "", (row,)),
            _norm_block("convolution", convolution.norm),
        ]
    if not (layer.attention or layer.recurrence or layer.mixing or layer.cross_attention or layer.mlp):
        blocks.append(Block("identity", "norm", "Identity", "no branch"))
    further = further_tags(layer, _KNOWN)
    if further:
        blocks.append(Block("further", "norm", "Further", "", tags=tuple(further)))
    return tuple(block for block in blocks if block is not None)


def _norm_block(name: str, norm: words.Norm | words.PlacedNorm) -> Block | None:
    if isinstance(norm, words.NoNorm):
        return None
    own = getattr(norm, "output_eps", None) if name.endswith("_output") else None
    return Block(f"{name}_norm", "norm", norm_name(norm), f"ε {real(own or norm.eps)}")


def _shape(kind: LayerKind) -> object:
    """Return a value that is equal for layers of one kind: all texts without numbers and tags."""
    branches = [
        (
            *(skeleton(block) for block in (branch.before, branch.body, branch.after)),
            *map(without_numbers, (branch.scale, branch.skip_scale)),
        )
        for branch in kind.branches
    ]
    flags = (kind.arrangement, kind.norms_after_sum, kind.skips_norm, kind.output_scale)
    return tuple(branches), flags, skeleton(kind.shared_norm), tuple(map(skeleton, kind.extras))


def _join(letter: str, variants: dict[LayerKind, list[int]]) -> LayerKind:
    """Return the kind of several variants: their tags in common, and all of their numbers."""
    order = _by_shade(variants)
    counts = Counter({kind: len(indices) for kind, indices in variants.items()})
    kinds = [kind for kind, _ in order]
    main = counts.most_common(1)[0][0]
    many = len(kinds) > MOST_VARIANTS

    def merged(block: Block | None, blocks: Iterable[Block | None]) -> Block | None:
        return (
            merge_blocks(block, [other for other in blocks if other is not None], many) if block is not None else None
        )

    branches = []
    for position, branch in enumerate(main.branches):
        others = [kind.branches[position] for kind in kinds]
        branches.append(
            Branch(
                body=merge_blocks(branch.body, [other.body for other in others], many),
                before=merged(branch.before, [other.before for other in others]),
                after=merged(branch.after, [other.after for other in others]),
                scale=merge_texts([other.scale for other in others]),
                skip_scale=merge_texts([other.skip_scale for other in others]),
            )
        )
    texts = differing_texts([_bodies(kind) for kind in kinds])
    if any(map(_is_windowed, kinds)):
        texts = [text if _is_windowed(kind) else ("all keys", *text) for kind, text in zip(kinds, texts, strict=True)]
    pairs = zip(order, texts, strict=True)
    return replace(
        main,
        letter=letter,
        layers=tuple(sorted(index for indices in variants.values() for index in indices)),
        branches=tuple(branches),
        shared_norm=merged(main.shared_norm, [kind.shared_norm for kind in kinds]),
        variants=tuple(Variant(tuple(indices), text) for (_, indices), text in pairs) if len(order) > 1 else (),
    )


def _bodies(kind: LayerKind) -> list[Block]:
    return [branch.body for branch in kind.branches]


def _by_shade(variants: dict[LayerKind, list[int]]) -> list[tuple[LayerKind, list[int]]]:
    """Return the variants, those with a window last, so that layers with all keys have the full color."""
    return sorted(variants.items(), key=lambda item: (_is_windowed(item[0]), item[1][0]))


def _is_windowed(kind: LayerKind) -> bool:
    return any(tag.startswith("window ") for block in _bodies(kind) for tag in block.tags)


def _cell(letter: str, layer: words.Layer, shade: int) -> Cell:
    mixers: tuple[tuple[Kind, object], ...] = (
        ("attention", layer.attention),
        ("recurrent", layer.recurrence),
        ("mixing", layer.mixing),
    )
    mixer = next((kind for kind, word in mixers if word is not None), None)
    mlp = None if layer.mlp is None else "experts" if isinstance(layer.mlp, words.MoeMlp) else "mlp"
    return Cell(letter, mixer, mlp, min(shade, 2))  # type: ignore[arg-type]
