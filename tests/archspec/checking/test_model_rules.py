"""Combinations in tables, heads, poolers and whole models that the rules reject."""

from __future__ import annotations

import pytest

from tests.archspec.checking.invalid import assert_invalid
from tests.archspec.samples import Load

GATED = "streams: {kind: gated, count: 2, rank: 3, norm: {kind: rmsnorm, eps: 1e-5}}"

FAULTS = {
    "gated streams and a final norm": (
        f"layer: {{norm: none, {GATED}}}\n",
        "final_norm: gated streams are normed where the head reads them; set `final_norm: none`",
    ),
    "bias without a weight": (
        "final_norm: {kind: layernorm, affine: false}\n",
        "final_norm.affine: a norm without a weight has no bias; set `bias: false`",
    ),
    "decoder without a head": ("head: {kind: none}\n", "head: a decoder requires a head"),
    "pooler in a decoder": ("pooler: first-token\n", "pooler: a pooler is not supported in a decoder"),
    "attention in both directions with a cache": (
        "direction: both\n",
        "direction: attention in both directions is not supported with a cache",
    ),
    "classes with a cache": (
        "head: {kind: classes, labels: 2, pool: last}\n",
        "head: classes are not supported with a",
    ),
    "classes of a sequence without pooling": (
        "topology: encoder\nhead: {kind: classes, labels: 2}\n",
        "head.pool: scores of a sequence require a pooling",
    ),
    "classes of tokens with pooling": (
        "topology: encoder\nhead: {kind: classes, labels: 2, per: token, pool: last}\n",
        "head.pool: scores of each token have no pooling; remove the key",
    ),
    "pooling by a token without its id": (
        "topology: encoder\nhead: {kind: classes, labels: 2, pool: eos}\n",
        "head.end_token: expected the id of a token with `pool: eos`",
    ),
    "spans of three labels": (
        "topology: encoder\nhead: {kind: classes, labels: 3, per: span}\n",
        "head.labels: a span has 2 scores of each token",
    ),
    "more logits than tokens": ("head: {vocab: 101}\n", "head.vocab: expected at most the 100 tokens of the embedding"),
    "fewer rows of a tied head": (
        "head: {tie: true, vocab: 90}\n",
        "head.vocab: a tied head has the rows of the",
    ),
    "causal buckets without a cache": (
        "topology: encoder\nposition: {kind: relative-buckets, buckets: 8, max_distance: 16}\ndirection: past\n",
        "direction: relative-buckets are not supported with causal attention in an encoder",
    ),
    "vectors of a decoder": (
        "head: {kind: vectors, width: 8}\n",
        "head: vectors of tokens are not supported in a decoder",
    ),
    "a norm of tokens that is absent": (
        "embedding: {norm_of: tokens}\n",
        "embedding.norm_of: the embedding has no norm",
    ),
    "a norm of tokens that are the sum": (
        "embedding: {norm: {kind: layernorm, eps: 1e-5}, norm_of: tokens}\n",
        "embedding.norm_of: nothing is added to the token embedding; remove the key",
    ),
    "an embedding that a layer does not read": (
        "embedding: {per_layer: {width: 4, norm: none}}\n"
        "variants:\n  - {when: layer == 0, layer: {embedding_branch: {activation: relu, norm: none}}}\n",
        "embedding.per_layer: layer 1 does not read its vector",
    ),
    "positions twice": (
        "position: {kind: learned}\nembedding: {positions: {size: 64}}\n",
        "embedding.positions: learned positions are added to the embedding already",
    ),
    "a short table of positions": (
        "embedding: {positions: {size: 2}}\n",
        "embedding.positions.size: a table of 2 positions for a context of",
    ),
    "a row that a table lacks": (
        "embedding: {tables: {rows: [3, 2], row: 2}}\n",
        "embedding.tables.row: row 2 of a table of 2 rows; use a lower index",
    ),
    "tables and numbers": (
        "embedding: {tables: {rows: [3, 2], times: [1]}}\n",
        "embedding.tables.times: 1 numbers for 2 tables; use one for each table",
    ),
    "rows added and joined": (
        "embedding: {tables: {rows: [3], times: [1], widths: [4]}}\n",
        "embedding.tables.times: rows with widths of their own are not added; remove the key",
    ),
    "joined tables after the norm": (
        "embedding: {tables: {rows: [3], widths: [4]}, projection: {after: norm}}\n",
        "embedding.projection.after: the projection reads the rows of further tables",
    ),
    "token dropout with a cache": (
        "embedding: {token_dropout: {token: 1, keep: 0.5}}\n",
        "embedding.token_dropout: the number of masked tokens is that of a whole text",
    ),
    "a tied head of another width": (
        "topology: encoder\nhead: {kind: mlm, activation: gelu, norm: none, width: 8, tie: true}\n",
        "head.width: the token table, which the head shares, has the width",
    ),
    "a pooling after no dense layer": (
        "topology: encoder\nhead: {kind: classes, labels: 2, pool: mean, order: after}\n",
        "head.order: a pooling has an order if there is a dense layer; add both, or remove the key",
    ),
    "an output latent of uneven groups of heads": (
        "attention: {output_latent: {groups: 7, width: 8}}\n",
        "heads in 7 groups; use a divisor of `heads`",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_combinations(load: Load, text: str, message: str) -> None:
    assert_invalid(load, text, message)
