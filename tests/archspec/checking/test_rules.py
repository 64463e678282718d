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
    "skip from a norm": (
        "layer: {norm: {placement: post}, skip: {source: norm}}\n",
        "layer.skip.source: `norm` requires a norm on the input of each branch; use input",
    ),
    "ALiBi in an encoder": (
        "topology: encoder\nposition: alibi\n",
        "position: alibi requires a causal mask and is not supported in an encoder",
    ),
    "decoder without a head": ("head: {kind: none}\n", "head: a decoder requires a head"),
    "pooler in a decoder": ("pooler: first-token\n", "pooler: a pooler is not supported in a decoder"),
    "MLM head in a decoder": (
        "head: {kind: mlm, activation: gelu, norm: {kind: none}}\n",
        "head: a masked-language-model head is not supported in a decoder",
    ),
    "learned positions in some layers": (
        "position: [{kind: learned}, none]\n",
        "position: learned positions are added to the embedding and cannot differ by layer",
    ),
    "heads of one layer": (
        "attention: {kv_heads: [4, 4, 3]}\n",
        "attention.kv_heads: 4 heads are not a multiple of 3 kv_heads (layer 2)",
    ),
    "no mixer": ("attention: none\nposition: none\n", "attention: the layer has neither attention nor a recurrence"),
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
