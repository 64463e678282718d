"""Combinations in attention that the rules reject."""

from __future__ import annotations

import pytest

from tests.archspec.checking.invalid import assert_invalid
from tests.archspec.samples import Load

INDEXER = "{kind: keys, heads: 2, head_dim: 8, keys: 3, norm: none}"
BLOCKS = "{kind: blocks, heads: 2, head_dim: 8, block: 4, blocks: 2, norm: none}"
DIFFERENTIAL = "differential: {init: 0.5, norm: {kind: rmsnorm, eps: 1e-5}}"
COMPRESSION = "{block: 4, norm: none}"

FAULTS = {
    "a window next to a dynamic mask": (
        "attention: {dynamic_mask: {keys: 4}, window: 8}\n",
        "attention.window: the key is not supported with a dynamic mask; remove one of them",
    ),
    "biases by distance next to a dynamic mask": (
        "attention: {dynamic_mask: {keys: 4}}\nposition: alibi\n",
        "position: alibi is not supported with a dynamic mask; use another kind",
    ),
    "a mixture of fewer heads than a token has": (
        "attention: {mixture: {experts: 1}, kv_heads: 2}\n",
        "attention.mixture.experts: 4 heads of a token, but 1 experts of 2 heads; use more experts, or fewer heads",
    ),
    "a gate on a mixture of heads": (
        "attention: {mixture: {experts: 4}, gate: {}}\n",
        "attention.gate: the key is not supported with a mixture of heads; remove one of them",
    ),
    "per-head weights of a projection": (
        "attention: {qk_norm: {kind: rmsnorm, eps: 1e-6, over: projection, weights: per-head}}\n",
        "attention.qk_norm.weights: a norm over the whole projection has one weight",
    ),
    "per-head weights with a bias": (
        "attention: {qk_norm: {kind: layernorm, eps: 1e-6, weights: per-head}}\n",
        "attention.qk_norm.weights: a norm with a weight per head requires that weight and no bias",
    ),
    "heads of one layer": (
        "attention: {kv_heads: [4, 4, 3]}\n",
        "attention.kv_heads: 4 heads are not a multiple of 3 kv_heads (layer 2)",
    ),
    "no mixer in any layer": (
        "attention: none\nposition: none\nlayer: {norm: {branches: mlp}}\n",
        "attention: no layer has a token mixer",
    ),
    "no branch": (
        "attention: none\nposition: none\nmlp: none\nlayer: {norm: {branches: mlp}}\n",
        "attention: the layer has neither attention, a recurrence nor an MLP",
    ),
    "an MLP alone with a parallel residual": (
        "attention: none\nposition: none\nlayer: {residual: parallel, norm: {branches: mlp}}\n",
        "attention: a parallel residual requires two branches",
    ),
    "bias by head of a gate by head": (
        "attention: {gate: {over: heads, head_bias: true}}\n",
        "attention.gate.head_bias: each head has one gate; use `bias`",
    ),
    "width of values that are keys": (
        "attention: {values: keys, value_dim: 4}\n",
        "attention.value_dim: the values are keys, whose width is head_dim; remove the key",
    ),
    "an indexer and a window": (
        f"attention: {{window: 3, indexer: {INDEXER}}}\n",
        "attention.indexer: an indexer selects from all keys and is not supported with a window; remove one of them",
    ),
    "an indexer narrower than the rotation": (
        f"attention: {{indexer: {INDEXER}}}\n",
        "attention.indexer.head_dim: 16 rotating dimensions in a head of 8; use a wider head",
    ),
    "blocks for an odd group of heads": (
        f"position: none\nattention: {{indexer: {BLOCKS.replace('heads: 2', 'heads: 3')}}}\n",
        "attention.indexer.heads: 4 heads of attention are not a multiple of 3; use a divisor of `attention.heads`",
    ),
    "more last blocks than blocks": (
        f"position: none\nattention: {{indexer: {BLOCKS.replace('blocks: 2', 'blocks: 2, last: 3')}}}\n",
        "attention.indexer.last: 3 of 2 blocks; use fewer",
    ),
    "blocks for latent attention": (
        "position: none\nattention: {kind: latent, latent: 8, nope_dim: 4, rope_dim: 4, value_dim: 4, norm: none, "
        f"indexer: {BLOCKS}}}\n",
        "attention.indexer.kind: a selection for each group of heads is not supported with latent attention",
    ),
    "a gate of queries without a latent": (
        "attention: {gate: {source: queries}}\n",
        "attention.gate.source: queries are projected from the input of the layer; use layer",
    ),
    "both latents of queries without one": (
        "attention: {kind: latent, latent: 8, nope_dim: 4, rope_dim: 4, value_dim: 4, norm: none, queries: both}\n",
        "attention.queries: queries are projected from the residual stream; set `query_latent`",
    ),
    "latents of no such layer": (
        "position: none\nattention: {kind: latent, latent: 8, nope_dim: 4, rope_dim: 4, value_dim: 4, norm: none, "
        "latents_of: 0}\n",
        "attention.latents_of: layer 0 has no earlier layer of this index with latents of its position and size; "
        "use another index, or none",
    ),
    "learned factors of an indexer alone": (
        "position: none\nattention: {indexer: {kind: keys, heads: 2, head_dim: 4, keys: 2, norm: none, "
        "query_scale: true}}\n",
        "attention.indexer.query_scale: the queries of the attention have no learned factors; set "
        "`attention.query_scale: learned-log`",
    ),
    "a norm on no rotating part": (
        "position: none\nattention: {kind: latent, latent: 8, nope_dim: 4, rope_dim: 0, value_dim: 4, norm: none, "
        "rope_norm: {kind: rmsnorm, eps: 1e-6}}\n",
        "attention.rope_norm: no part of the keys rotates: `rope_dim` is 0; remove the key",
    ),
    "a rotation of no part": (
        "attention: {kind: latent, latent: 8, nope_dim: 4, rope_dim: 0, value_dim: 4, norm: none}\n",
        "attention.rope_dim: 0 rotating dimensions; use an even number of at least 2",
    ),
    "a factor on no latent of queries": (
        "attention: {kind: latent, latent: 8, nope_dim: 4, rope_dim: 4, value_dim: 4, norm: none, "
        "query_latent_scale: 2.0}\n",
        "attention.query_latent_scale: there is no latent of queries; set `query_latent`",
    ),
    "a selection that no layer makes": (
        "attention: {indexer: earlier}\n",
        "attention.indexer.kind: no layer before layer 0 has an indexer of its own; use `kind: keys`",
    ),
    "keys and values of no layer": (
        "attention: {keys_values: earlier}\n",
        "attention.keys_values: no layer before layer 0 has keys and values of this window, position and size",
    ),
    "keys and values of another window": (
        "variants:\n  - {when: layer == 1, attention: {keys_values: earlier, window: 3}}\n",
        "attention.keys_values: no layer before layer 1 has keys and values of this window, position and size",
    ),
    "a value norm without values": (
        "attention: {value_norm: {kind: rmsnorm, eps: 1e-6}}\n"
        "variants:\n  - {when: layer == 1, attention: {keys_values: earlier}}\n",
        "attention.value_norm: the layer reads the keys and values of an earlier layer (layer 1); remove the key",
    ),
    "a convolution of values with a cache": (
        "attention: {convolution: {kernel: 3}}\n",
        "attention.convolution: a convolution over tokens on both sides is not supported with causal attention",
    ),
    "an odd number of differential heads": (
        f"attention: {{kv_heads: 1, {DIFFERENTIAL}}}\n",
        "attention.kv_heads: the heads of differential attention are pairs, not 1; use an even number",
    ),
    "a gate on differential heads": (
        f"attention: {{gate: {{}}, {DIFFERENTIAL}}}\n",
        "attention.differential: differential attention is not supported with `attention.gate`; remove one of them",
    ),
    "uneven groups of attention": (
        "attention: {groups: {k: 3}}\n",
        "attention.groups.k: 64 and 64 channels in 3 groups; use a divisor of both",
    ),
    "compressed keys without a window": (
        f"attention: {{values: rotated-keys, compression: {COMPRESSION}}}\n",
        "attention.compression: without a window, queries attend to all keys anyway; add `attention.window`",
    ),
    "compressed keys and other values": (
        f"attention: {{window: 3, compression: {COMPRESSION}}}\n",
        "attention.compression: compressed keys are their own values; set `attention.values: rotated-keys`",
    ),
    "compressed keys in an encoder": (
        f"topology: encoder\nattention: {{window: 3, values: rotated-keys, compression: {COMPRESSION}}}\n",
        "attention.compression: a compressed key is of tokens before its query; use `topology: decoder`",
    ),
    "compressed keys of capped scores": (
        f"attention: {{window: 3, softcap: 5.0, values: rotated-keys, compression: {COMPRESSION}}}\n",
        "attention.softcap: softcap is not supported with compressed keys; remove one of them",
    ),
    "a norm of values that are rotated keys": (
        "attention: {values: rotated-keys, value_norm: {kind: rmsnorm, eps: 1e-5}}\n",
        "attention.value_norm: the values are the keys themselves; remove the key, or use `values: keys`",
    ),
    "one matrix in every layer": (
        "attention: none\nposition: none\nmixing: linear\n",
        "attention: no layer has a token mixer; add attention or a recurrence to one of them",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_invalid_combinations(load: Load, text: str, message: str) -> None:
    assert_invalid(load, text, message)
