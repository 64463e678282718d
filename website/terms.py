"""Words of the field that a family is found by, each with the condition on a bound spec that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.draw.describe.words import gated_name

Test = Callable[[BoundSpec], bool]


def _layers(bound: BoundSpec) -> Iterator[words.Layer]:
    yield from bound.layers
    yield from bound.encoder.layers if bound.encoder is not None else ()


def _any(test: Callable[[words.Layer], bool]) -> Test:
    return lambda bound: any(test(layer) for layer in dict.fromkeys(_layers(bound)))


def _attention(test: Callable[[words.GroupedQueryAttention], bool]) -> Test:
    return _any(lambda layer: isinstance(layer.attention, words.GroupedQueryAttention) and test(layer.attention))


def _mixer(name: str, without: str | int | bool | None) -> Test:
    """Return the test for a key of either kind of attention that has another value."""
    return _any(lambda layer: layer.attention is not None and getattr(layer.attention, name, without) != without)


def _recurrence(*kinds: type[words.Section]) -> Test:
    return _any(lambda layer: isinstance(layer.recurrence, kinds))


def _state(update: str, decay: type[words.Section] | None = None) -> Test:
    def test(layer: words.Layer) -> bool:
        state = layer.recurrence
        is_updated = isinstance(state, words.MatrixState) and state.update == update
        return is_updated and (decay is None or isinstance(state.decay, decay))  # type: ignore[union-attr]

    return _any(test)


def _position(*kinds: type[words.Section]) -> Test:
    return _any(lambda layer: isinstance(layer.position, kinds))


def _rope(test: Callable[[words.Rope], bool]) -> Test:
    return _any(lambda layer: isinstance(layer.position, words.Rope) and test(layer.position))


def _scaling(kind: type[words.Section]) -> Test:
    return _rope(lambda rope: isinstance(rope.scaling, kind))


def _norm(placement: str) -> Test:
    def test(layer: words.Layer) -> bool:
        norm = layer.norm
        return isinstance(norm, words.Placement) and placement in (norm.placement, norm.mlp_placement)

    return _any(test)


def _norm_kind(kind: type[words.Section]) -> Test:
    return _any(lambda layer: isinstance(layer.norm, kind))


def _mixtures(layer: words.Layer) -> Iterable[words.MoeMlp]:
    return [mlp for mlp in (layer.mlp, layer.shortcut) if isinstance(mlp, words.MoeMlp)]


def _experts(test: Callable[[words.MoeMlp], bool]) -> Test:
    return _any(lambda layer: any(test(mlp) for mlp in _mixtures(layer)))


def _dense(layer: words.Layer) -> list[words.Section]:
    """Return the dense MLPs of a layer, experts included."""
    inner = [each for mixture in _mixtures(layer) for each in (mixture.expert, mixture.shared) if each is not None]
    return [*inner, *([layer.mlp] if layer.mlp is not None else [])]


def _gated(name: str) -> Test:
    def test(layer: words.Layer) -> bool:
        return any(isinstance(mlp, words.GatedMlp) and gated_name(mlp.activation) == name for mlp in _dense(layer))

    return _any(test)


def _mlp(kind: type[words.Section]) -> Test:
    return _any(lambda layer: any(isinstance(mlp, kind) for mlp in _dense(layer)))


def _has_both(bound: BoundSpec) -> bool:
    layers = list(_layers(bound))
    return any(layer.attention is not None for layer in layers) and any(layer.recurrence for layer in layers)


TERMS: Mapping[str, Mapping[str, Test]] = {
    "Kind": {
        "decoder": lambda bound: bound.topology == "decoder",
        "encoder": lambda bound: bound.topology == "encoder",
        "encoder-decoder": lambda bound: bound.topology == "encoder-decoder",
        "prefix LM": lambda bound: bound.prefix is not None,
        "recurrent": lambda bound: all(layer.attention is None and layer.recurrence for layer in _layers(bound)),
        "hybrid": _has_both,
    },
    "Attention": {
        "MHA": _attention(lambda word: word.kv_heads == word.heads),
        "GQA": _attention(lambda word: 1 < word.kv_heads < word.heads),
        "MQA": _attention(lambda word: word.kv_heads == 1 < word.heads),
        "MLA": _any(lambda layer: isinstance(layer.attention, words.LatentAttention)),
        "sliding window": _any(
            lambda layer: (
                getattr(layer.attention, "window", None) is not None and not getattr(layer.attention, "chunked", False)
            )
        ),
        "chunked attention": _attention(lambda word: word.chunked),
        "sparse attention": _mixer("indexer", None),
        "QK norm": _attention(lambda word: not isinstance(word.qk_norm, words.NoNorm)),
        "attention sinks": _attention(lambda word: word.sinks),
        "output gate": _mixer("gate", None),
        "score softcap": _mixer("softcap", None),
        "shared keys and values": _attention(lambda word: word.keys_values == "earlier" or word.values == "keys"),
        "query-key-value bias": _attention(lambda word: word.bias.qkv),
        "Fourier mixing": _any(lambda layer: isinstance(layer.mixing, words.FourierMixing)),
    },
    "Recurrence": {
        "selective scan (Mamba)": _recurrence(words.SelectiveScan),
        "state space (Mamba-2)": _state("add", words.StepDecay),
        "linear attention": _any(
            lambda layer: (
                isinstance(layer.recurrence, words.LinearAttention)
                or (
                    isinstance(layer.recurrence, words.MatrixState)
                    and layer.recurrence.update == "add"
                    and not isinstance(layer.recurrence.decay, words.StepDecay)
                )
            )
        ),
        "delta rule": _any(
            lambda layer: (
                isinstance(layer.recurrence, words.DeltaRule)
                or (isinstance(layer.recurrence, words.MatrixState) and layer.recurrence.update == "delta")
            )
        ),
        "WKV average": _recurrence(words.DecayedAverage),
        "RG-LRU": _recurrence(words.RgLru),
        "short convolution": _recurrence(words.ShortConvolution),
    },
    "Positions": {
        "RoPE": _position(words.Rope, words.BlockRope),
        "partial RoPE": _rope(lambda rope: rope.fraction != 1.0 or rope.dim is not None),
        "NoPE layers": lambda bound: _position(words.Rope)(bound) and _position(words.NoPosition)(bound),
        "YaRN": _scaling(words.YarnScaling),
        "LongRoPE": _scaling(words.LongRopeScaling),
        "Llama 3 scaling": _scaling(words.Llama3Scaling),
        "ALiBi": _position(words.Alibi),
        "learned positions": lambda bound: _position(words.Learned)(bound) or bound.embedding.positions is not None,
        "sinusoids": _position(words.Sinusoidal),
        "relative buckets": _position(words.RelativeBuckets),
        "disentangled attention": _position(words.Disentangled),
    },
    "Norms": {
        "RMSNorm": _norm_kind(words.RmsNorm),
        "LayerNorm": _norm_kind(words.LayerNorm),
        "pre-norm": _norm("pre"),
        "post-norm": _norm("post"),
        "sandwich norms": _norm("sandwich"),
        "output norms": _norm("output"),
    },
    "MLP": {
        "SwiGLU": _gated("SwiGLU"),
        "GeGLU": _gated("GeGLU"),
        "plain MLP": _mlp(words.PlainMlp),
        "channel mixing": _mlp(words.ChannelMixing),
        "MoE": _experts(lambda word: True),
        "shared experts": _experts(lambda word: word.shared is not None),
        "sigmoid routing": _experts(lambda word: word.router.score == "sigmoid"),
        "group-limited routing": _experts(lambda word: word.router.groups is not None),
    },
    "Model": {
        "parallel residual": _any(lambda layer: layer.residual == "parallel"),
        "tied embeddings": lambda bound: getattr(bound.head, "tie", False),
        "shared layers": lambda bound: len(set(bound.weight_sets)) < len(bound.layers),
        "logit softcap": lambda bound: getattr(bound.head, "softcap", None) is not None,
        "residual streams": _any(lambda layer: layer.streams is not None),
        "pooler": lambda bound: not isinstance(bound.pooler, words.NoPooler),
    },
}
"""Terms by group, in the order of the gallery."""


def terms_of(bounds: Iterable[BoundSpec]) -> tuple[str, ...]:
    """Return the terms that hold for at least one size of a family."""
    sizes = list(bounds)
    return tuple(name for group in TERMS.values() for name, test in group.items() if any(map(test, sizes)))
