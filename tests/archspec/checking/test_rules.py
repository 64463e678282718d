"""Combinations of valid values that the rules reject."""

from __future__ import annotations

import pytest

from archc.archspec import SpecError
from tests.archspec.samples import Load

AVERAGE = "{kind: decayed-average, width: 8}"
DELTA = (
    "kind: delta-rule, heads: 4, head_dim: 16, shift: {kind: static}, decay_rank: 2, rate_rank: 2, gate_rank: 2, "
    "norm: {eps: 1e-5}"
)
ONES = "[1, 1, 1, 1, 1, 1, 1, 1]"
READS_VALUES = f"attention: none\nposition: none\nrecurrence: {{{DELTA}, value_residual: {{kind: take, rank: 2}}}}\n"

STATE = "attention: none\nposition: none\nrecurrence: {kind: matrix-state, key_dim: 3, value_dim: 2, "

INDEXER = "{kind: keys, heads: 2, head_dim: 8, keys: 3, norm: none}"
BLOCKS = "{kind: blocks, heads: 2, head_dim: 8, block: 4, blocks: 2, norm: none}"

DIFFERENTIAL = "differential: {init: 0.5, norm: {kind: rmsnorm, eps: 1e-5}}"
COMPRESSION = "{block: 4, norm: none}"

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
    "gated streams and a final norm": (
        f"layer: {{norm: none, {GATED}}}\n",
        "final_norm: gated streams are normed where the head reads them; set `final_norm: none`",
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
    "two rotating dimensions": (
        "position: {scaling: {kind: dynamic, factor: 2.0, original_max_position_embeddings: 9}, fraction: 0.125}\n",
        "position.scaling: dynamic scaling requires more than 2 rotating dimensions",
    ),
    "llama3 factors": (
        "position: {scaling: {kind: llama3, factor: 2.0, low_freq_factor: 4.0, high_freq_factor: 4.0, "
        "original_max_position_embeddings: 9}}\n",
        "position.scaling: low_freq_factor 4 must be less than high_freq_factor 4",
    ),
    "parallel post-norm": (
        "layer: {residual: parallel, norm: {placement: post}}\n",
        "layer.norm.placement: placement 'post' is not supported with a parallel residual; use pre",
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
    "bias without a weight": (
        "final_norm: {kind: layernorm, affine: false}\n",
        "final_norm.affine: a norm without a weight has no bias; set `bias: false`",
    ),
    "per-head weights of a projection": (
        "attention: {qk_norm: {kind: rmsnorm, eps: 1e-6, over: projection, weights: per-head}}\n",
        "attention.qk_norm.weights: a norm over the whole projection has one weight",
    ),
    "per-head weights with a bias": (
        "attention: {qk_norm: {kind: layernorm, eps: 1e-6, weights: per-head}}\n",
        "attention.qk_norm.weights: a norm with a weight per head requires that weight and no bias",
    ),
    "eps of an output without a norm": (
        "layer: {norm: {output_eps: 1e-3}}\n",
        "layer.norm.output_eps: the norms of a branch differ with `placement: sandwich` only",
    ),
    "two clamps": (
        "mlp: {limit: 2.0, activation_limit: 3.0}\n",
        "mlp.activation_limit: limit and activation_limit both set; remove one of them",
    ),
    "skip from a norm": (
        "layer: {norm: {placement: post}, skip: {source: norm}}\n",
        "layer.skip.source: `norm` requires a norm on the input of each branch; use input",
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
    "a capacity of several experts": (
        "mlp: {kind: moe, experts: 4, per_token: 2, capacity: 3, expert: {kind: plain, width: 8, activation: relu}}\n",
        "mlp.capacity: a capacity is not supported with 2 experts per token",
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
    "learned positions in some layers": (
        "position: [{kind: learned}, none]\n",
        "position: learned positions are added to the embedding and cannot differ by layer",
    ),
    "heads of one layer": (
        "attention: {kv_heads: [4, 4, 3]}\n",
        "attention.kv_heads: 4 heads are not a multiple of 3 kv_heads (layer 2)",
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
    "an MLP alone with rope": (
        "attention: none\nlayer: {norm: {branches: mlp}}\n",
        "position: rope requires attention, and the layer has an MLP alone",
    ),
    "uneven key heads": (
        f"{STATE}heads: 4, key_heads: 3, decay: step}}\n",
        "recurrence.key_heads: 4 heads are not a multiple of 3 key_heads",
    ),
    "a rate without the delta rule": (
        f"{STATE}heads: 4, rate_scale: 2.0, decay: step}}\n",
        "recurrence.rate_scale: only the delta rule has a rate",
    ),
    "step limits that exclude each other": (
        f"{STATE}heads: 4, decay: {{kind: step, least: 2.0, most: 1.0}}}}\n",
        "recurrence.decay.most: expected more than least (2), got 1",
    ),
    "steps by channel on values": (
        f"{STATE}heads: 4, decay: {{kind: step, over: channels, scales_values: true}}}}\n",
        "recurrence.decay.scales_values: values have one step size by head",
    ),
    "uneven groups of a norm": (
        f"{STATE}heads: 4, decay: step, norm: {{kind: rmsnorm, eps: 1e-6, groups: 5}}}}\n",
        "recurrence.norm.groups: 8 channels are not a multiple of 5 groups",
    ),
    "a shared weight for one group": (
        f"{STATE}heads: 4, decay: step, norm: {{kind: rmsnorm, eps: 1e-6, weights: shared}}}}\n",
        "recurrence.norm.weights: one group has one weight vector",
    ),
    "a shared weight of a norm without one": (
        f"{STATE}heads: 4, decay: step, "
        "norm: {kind: rmsnorm, eps: 1e-6, groups: 2, weights: shared, affine: false}}\n",
        "recurrence.norm.weights: the norm has no weight",
    ),
    "a gate before no norm": (
        f"{STATE}heads: 4, decay: step, gate: {{order: before}}}}\n",
        "recurrence.gate.order: there is no norm, and the order is 'before'",
    ),
    "blocks of a linear recurrent unit": (
        "attention: none\nposition: none\n"
        "recurrence: {kind: rg-lru, width: 8, blocks: 3, convolution: {kernel: 4}, activation: gelu}\n",
        "recurrence.blocks: 8 channels are not a multiple of 3 blocks; use a divisor of `width`",
    ),
    "shortcut without a reader": (
        "shortcut: {kind: moe, experts: 2, per_token: 1, expert: {kind: plain, width: 8, activation: relu}}\n",
        "shortcut: layer 1 does not agree with the layer before; set `layer.adds_shortcut` in the layer after each",
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
    "bias by head of a gate by head": (
        "attention: {gate: {over: heads, head_bias: true}}\n",
        "attention.gate.head_bias: each head has one gate; use `bias`",
    ),
    "width of values that are keys": (
        "attention: {values: keys, value_dim: 4}\n",
        "attention.value_dim: the values are keys, whose width is head_dim; remove the key",
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
    "two mixers": (f"recurrence: {AVERAGE}\n", "recurrence: the layer has both attention and a recurrence"),
    "rope with a recurrence": (
        f"attention: none\nrecurrence: {AVERAGE}\n",
        "position: rope requires attention, and the layer has a recurrence",
    ),
    "recurrence in an encoder": (
        f"topology: encoder\nattention: none\nposition: none\nrecurrence: {AVERAGE}\n",
        "recurrence: a recurrence is causal and is not supported in an encoder",
    ),
    "norm of a missing MLP": ("mlp: none\n", "layer.norm.branches: the layer has no MLP, and so no norm on it"),
    "parallel residual of one branch": (
        "mlp: none\nlayer: {residual: parallel, norm: {branches: mixer}}\n",
        "mlp: a parallel residual requires two branches",
    ),
    "values without a source": (
        READS_VALUES,
        "recurrence.value_residual: layer 0 reads values of 64 channels, but no earlier layer is a source",
    ),
    "values that no layer reads": (
        f"attention: none\nposition: none\nrecurrence: {{{DELTA}, value_residual: give}}\n",
        "recurrence.value_residual: no later layer reads the values",
    ),
    "values of another width": (
        READS_VALUES + "variants:\n  - {when: layer == 0, recurrence: {heads: 2, value_residual: {kind: give}}}\n",
        "recurrence.value_residual: layer 1 reads values of 64 channels, but the source has 32",
    ),
    "an indexer and a window": (
        f"attention: {{window: 3, indexer: {INDEXER}}}\n",
        "attention.indexer: an indexer selects from all keys and is not supported with a window; remove one of them",
    ),
    "an indexer with a bias of positions": (
        f"position: alibi\nattention: {{indexer: {INDEXER}}}\n",
        "position: alibi is not supported with an indexer; use rope, learned, sinusoidal or none",
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
    "a gate on a norm after the sum": (
        "layer: {norm: {placement: post, gate: {rank: 2}}}\n",
        "layer.norm.gate: a gate is not supported with placement 'post'; use pre, or remove the key",
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
    "learned factors on frequencies of a call": (
        "position: {learned: true, scaling: {kind: dynamic, factor: 2.0, original_max_position_embeddings: 8}}\n",
        "position.learned: dynamic scaling changes the frequencies by call; use another scaling",
    ),
    "learned factors of two rotary embeddings": (
        "position: {learned: true}\nvariants:\n  - {when: layer == 1, position: {theta: 7.0}}\n",
        "position.learned: layers with different rotary embeddings share no learned factors; "
        "use one, or set it to false",
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
    "a branch without an embedding for it": (
        "layer: {embedding_branch: {activation: relu, norm: none}}\n",
        "layer.embedding_branch: the embedding has no vectors for layers",
    ),
    "an embedding that a layer does not read": (
        "embedding: {per_layer: {width: 4, norm: none}}\n"
        "variants:\n  - {when: layer == 0, layer: {embedding_branch: {activation: relu, norm: none}}}\n",
        "embedding.per_layer: layer 1 does not read its vector",
    ),
    "experts in a branch without a shared expert": (
        "mlp: {kind: moe, experts: 2, per_token: 1, expert: {kind: plain, width: 4, activation: relu}, "
        "branch: {norm: none}}\n",
        "mlp.branch: there is no shared expert next to the branch",
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
    "an even kernel": (
        "topology: encoder\nlayer: {convolution: {kernel: 4, norm: none}}\n",
        "layer.convolution.kernel: a kernel of 4 has no middle; use an odd number",
    ),
    "a convolution with a cache": (
        "layer: {convolution: {kernel: 3, norm: none}}\n",
        "layer.convolution: a convolution over tokens on both sides is not supported with causal attention",
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
    "uneven groups of an MLP": (
        "mlp: {kind: plain, width: 8, activation: relu, groups: {down: 16}}\n",
        "mlp.groups.down: 64 and 8 channels in 16 groups; use a divisor of both",
    ),
    "groups in experts": (
        "mlp: {kind: moe, experts: 2, per_token: 1, expert: {kind: plain, width: 4, activation: relu, "
        "groups: {up: 2}}}\n",
        "mlp.expert.groups: grouped projections are not supported in experts",
    ),
    "a pooling after no dense layer": (
        "topology: encoder\nhead: {kind: classes, labels: 2, pool: mean, order: after}\n",
        "head.order: a pooling has an order if there is a dense layer; add both, or remove the key",
    ),
    "an adapter without a norm after the MLP": (
        "layer: {adapter: {kind: plain, width: 4, activation: relu}}\n",
        "layer.adapter: an adapter reads the norm after the MLP; set `layer.norm.placement: post`",
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
    "an output latent of uneven groups of heads": (
        "attention: {output_latent: {groups: 7, width: 8}}\n",
        "heads in 7 groups; use a divisor of `heads`",
    ),
    "mixing next to attention": (
        "topology: encoder\nposition: none\nmixing: fourier\n",
        "mixing: the layer has both attention and mixing; set `attention: none`",
    ),
    "mixing with a cache": (
        "attention: none\nposition: none\nmixing: fourier\n",
        "mixing: every output depends on all tokens of a text; use `topology: encoder`",
    ),
    "one matrix in every layer": (
        "attention: none\nposition: none\nmixing: linear\n",
        "attention: no layer has a token mixer; add attention or a recurrence to one of them",
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
    spec = load(text)
    with pytest.raises(SpecError) as raised:
        spec.bind()
    assert message in str(raised.value)
    assert raised.value.problems[0].line > 0
