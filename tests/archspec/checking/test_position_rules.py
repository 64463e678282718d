"""Combinations of positions that the rules reject."""

from __future__ import annotations

import pytest

from tests.archspec.checking.invalid import assert_invalid
from tests.archspec.samples import Load

AVERAGE = "{kind: decayed-average, width: 8}"
ONES = "[1, 1, 1, 1, 1, 1, 1, 1]"
INDEXER = "{kind: keys, heads: 2, head_dim: 8, keys: 3, norm: none}"

FAULTS = {
    "two rotating dimensions": (
        "position: {scaling: {kind: dynamic, factor: 2.0, original_max_position_embeddings: 9}, fraction: 0.125}\n",
        "position.scaling: dynamic scaling requires more than 2 rotating dimensions",
    ),
    "llama3 factors": (
        "position: {scaling: {kind: llama3, factor: 2.0, low_freq_factor: 4.0, high_freq_factor: 4.0, "
        "original_max_position_embeddings: 9}}\n",
        "position.scaling: low_freq_factor 4 must be less than high_freq_factor 4",
    ),
    "dim and fraction": ("position: {dim: 8, fraction: 0.5}\n", "position.dim: dim and fraction both set"),
    "dim larger than the head": ("position: {dim: 32}\n", "position.dim: 32 rotating dimensions in a head of 16"),
    "longrope lists": (
        f"position: {{scaling: {{kind: longrope, factor: 2.0, long_factor: [1.0, 2.0], short_factor: {ONES}, "
        "original_max_position_embeddings: 64}}\n",
        "position.scaling.long_factor: 2 factors for 8 rotating pairs; use one factor per pair",
    ),
    "longrope without a factor": (
        f"position: {{scaling: {{kind: longrope, long_factor: {ONES}, short_factor: {ONES}, "
        "original_max_position_embeddings: 64}}\n",
        "position.scaling: longrope requires factor or attention_factor; add one of them",
    ),
    "learned positions in some layers": (
        "position: [{kind: learned}, none]\n",
        "position: learned positions are added to the embedding and cannot differ by layer",
    ),
    "an MLP alone with rope": (
        "attention: none\nlayer: {norm: {branches: mlp}}\n",
        "position: rope requires attention, and the layer has an MLP alone",
    ),
    "rope with a recurrence": (
        f"attention: none\nrecurrence: {AVERAGE}\n",
        "position: rope requires attention, and the layer has a recurrence",
    ),
    "an indexer with a bias of positions": (
        f"position: alibi\nattention: {{indexer: {INDEXER}}}\n",
        "position: alibi is not supported with an indexer; use rope, learned, sinusoidal or none",
    ),
    "learned factors on frequencies of a call": (
        "position: {learned: true, scaling: {kind: dynamic, factor: 2.0, original_max_position_embeddings: 8}}\n",
        "position.learned: dynamic scaling changes the frequencies by call; use another scaling",
    ),
    "learned factors of two rotary embeddings": (
        "position: {learned: true}\nvariants:\n  - {when: layer == 1, position: {theta: 7.0}}\n",
        "position.learned: layers with different rotary embeddings share no learned factors; "
        "use one, or set it to false",
    ),
    "disentangled attention with a cache": (
        "position: {kind: disentangled, span: 4}\n",
        "position: disentangled attention requires keys of both sides; use `topology: encoder`",
    ),
    "disentangled attention without positions": (
        "topology: encoder\nposition: {kind: disentangled, span: 4, keys: false, queries: false}\n",
        "position: disentangled attention without a term of positions; set `keys` or `queries`",
    ),
    "a bias without its projection": (
        "topology: encoder\nposition: {kind: disentangled, span: 4, projections: shared, bias: true}\n",
        "position.bias.keys: the table has no such projection of its own; remove the key",
    ),
    "a near last bucket": (
        "topology: encoder\nposition: {kind: disentangled, span: 8, max_distance: 5}\n",
        "position.max_distance: max_distance 5 for 4 distances with a bucket each",
    ),
    "two tables of relative positions": (
        "topology: encoder\nposition: {kind: disentangled, span: 4 + layer}\n",
        "position: layers share one table of relative positions, and their sections differ",
    ),
    "mixing with rotary positions": (
        "topology: encoder\nattention: none\nmixing: fourier\n",
        "position: rope requires attention, and the layer has mixing",
    ),
    "proportional scaling of a number of dims": (
        "position: {dim: 4, scaling: proportional}\n",
        "position.dim: proportional scaling has angles for the whole head",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_combinations(load: Load, text: str, message: str) -> None:
    assert_invalid(load, text, message)
