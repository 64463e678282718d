"""Combinations in the layout of a layer that the rules reject."""

from __future__ import annotations

import pytest

from tests.archspec.checking.invalid import assert_invalid
from tests.archspec.samples import Load

GATED = "streams: {kind: gated, count: 2, rank: 3, norm: {kind: rmsnorm, eps: 1e-5}}"
MEMORY = (
    "order: 3, heads: 2, width: 8, rows: 40, index: 0, seed: 7, separator: 5, kernel: 3, "
    "norm: {kind: rmsnorm, eps: 1e-5}"
)

FAULTS = {
    "gated streams and a norm of the layer": (
        f"layer: {{{GATED}}}\nfinal_norm: none\n",
        "layer.norm: gated streams are normed where a branch reads them; set `layer.norm: none`",
    ),
    "gated streams and another residual": (
        f"layer: {{norm: none, skip: {{scale: 2.0}}, {GATED}}}\nfinal_norm: none\n",
        "layer.skip: skip is not supported with gated streams; remove it",
    ),
    "gated streams in parallel": (
        f"layer: {{norm: none, residual: parallel, {GATED}}}\nfinal_norm: none\n",
        "layer.residual: gated streams require branches in sequence, without norms on the sums; remove the key",
    ),
    "gated streams without weights of the norm": (
        f"layer: {{norm: none, {GATED.replace('1e-5', '1e-5, affine: false')}}}\nfinal_norm: none\n",
        "layer.streams.norm.affine: each stream has a weight of its own; remove the key",
    ),
    "a memory whose vector has no equal parts": (
        f"layer: {{ngram_memory: {{{MEMORY.replace('width: 8', 'width: 9')}}}}}\n",
        "layer.ngram_memory.width: a vector of 9 numbers is not in equal parts from 4 tables; use a multiple of 4",
    ),
    "a separator outside of the vocabulary": (
        f"layer: {{ngram_memory: {{{MEMORY.replace('separator: 5', 'separator: 99999999')}}}}}\n",
        "layer.ngram_memory.separator: token 99999999 of a vocabulary of",
    ),
    "parallel post-norm": (
        "layer: {residual: parallel, norm: {placement: post}}\n",
        "layer.norm.placement: placement 'post' is not supported with a parallel residual; use pre",
    ),
    "eps of an output without a norm": (
        "layer: {norm: {output_eps: 1e-3}}\n",
        "layer.norm.output_eps: the norms of a branch differ with `placement: sandwich` only",
    ),
    "skip from a norm": (
        "layer: {norm: {placement: post}, skip: {source: norm}}\n",
        "layer.skip.source: `norm` requires a norm on the input of each branch; use input",
    ),
    "no mixer": (
        "attention: none\nposition: none\n",
        "layer.norm.branches: the layer has no token mixer, and so no norm on it",
    ),
    "a scale of a missing MLP": (
        "mlp: none\nlayer: {mlp_branch_scale: 2.0, norm: {branches: mixer}}\n",
        "layer.mlp_branch_scale: the layer has no MLP, and so no scale of its own",
    ),
    "a scale of a parallel MLP": (
        "layer: {residual: parallel, skip: {mlp_scale: 2.0}}\n",
        "layer.skip.mlp_scale: parallel branches have one sum, and so no scale of its own",
    ),
    "shortcut of parallel branches": (
        "layer: {adds_shortcut: true, residual: parallel}\n",
        "layer.adds_shortcut: a shortcut requires an MLP in sequence, without a norm on the sum; remove the key",
    ),
    "placement at the MLP": (
        "layer: {norm: {placement: post, mlp_placement: pre}}\n",
        "layer.norm.mlp_placement: another placement at the MLP requires sequential branches without norms on the sums",
    ),
    "same placement at the MLP": (
        "layer: {norm: {mlp_placement: pre}}\n",
        "layer.norm.mlp_placement: the branches have one placement; remove the key",
    ),
    "parallel mixers without a recurrence": (
        "layer: {mixers: parallel}\n",
        "layer.mixers: parallel mixers are attention and a recurrence; add both sections, or use one",
    ),
    "active stream": (
        "layer: {streams: {kind: altup, count: 2, active: 2, norm: none}}\n",
        "layer.streams.active: expected an index below 2, the number of streams, got 2; use a smaller one",
    ),
    "scale of streams": (
        "layer: {streams: {kind: altup, count: 2, norm: none, scale: true}}\n",
        "layer.streams.scale: the layer has no embedding branch; remove the key",
    ),
    "different streams": (
        "layer: {streams: [{kind: altup, count: 2, norm: none}, {kind: altup, count: 3, norm: none}]}\n",
        "layer.streams: layers have different streams; use the same section in all layers",
    ),
    "hyper-connections of parallel branches": (
        "layer: {residual: parallel, streams: {kind: hyper-connections, count: 2, norm: none, eps: 0.0}}\n",
        "layer.residual: hyper-connections require branches in sequence, without norms on the sums; remove the key",
    ),
    "hyper-connections with a scaled skip": (
        "layer: {skip: {scale: 2.0}, streams: {kind: hyper-connections, count: 2, norm: none, eps: 0.0}}\n",
        "layer.skip: skip is not supported with hyper-connections; remove it",
    ),
    "LAuReL after a norm of the sum": (
        "layer: {norm: {placement: post}, laurel: {rank: 2, norm: none}}\n",
        "layer.laurel: LAuReL requires a branch of a mixer, without a norm on the sum; remove the key",
    ),
    "norm of a missing MLP": ("mlp: none\n", "layer.norm.branches: the layer has no MLP, and so no norm on it"),
    "a gate on a norm after the sum": (
        "layer: {norm: {placement: post, gate: {rank: 2}}}\n",
        "layer.norm.gate: a gate is not supported with placement 'post'; use pre, or remove the key",
    ),
    "a branch without an embedding for it": (
        "layer: {embedding_branch: {activation: relu, norm: none}}\n",
        "layer.embedding_branch: the embedding has no vectors for layers",
    ),
    "an even kernel": (
        "topology: encoder\nlayer: {convolution: {kernel: 4, norm: none}}\n",
        "layer.convolution.kernel: a kernel of 4 has no middle; use an odd number",
    ),
    "a convolution with a cache": (
        "layer: {convolution: {kernel: 3, norm: none}}\n",
        "layer.convolution: a convolution over tokens on both sides is not supported with causal attention",
    ),
    "an adapter without a norm after the MLP": (
        "layer: {adapter: {kind: plain, width: 4, activation: relu}}\n",
        "layer.adapter: an adapter reads the norm after the MLP; set `layer.norm.placement: post`",
    ),
    "mixing next to attention": (
        "topology: encoder\nposition: none\nmixing: fourier\n",
        "mixing: the layer has both attention and mixing; set `attention: none`",
    ),
    "mixing with a cache": (
        "attention: none\nposition: none\nmixing: fourier\n",
        "mixing: every output depends on all tokens of a text; use `topology: encoder`",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_combinations(load: Load, text: str, message: str) -> None:
    assert_invalid(load, text, message)
