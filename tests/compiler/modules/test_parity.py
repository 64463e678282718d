"""Options that no shipped family has together: the plan for the CPU against the torch model, with random weights."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from archc.compiler.build import bind, build, load_torch, open_slots
from archc.compiler.modules.model import Model, meta_model
from archc.runtime.engine import load

BERT = (
    "hidden_size=16",
    "num_hidden_layers=2",
    "num_attention_heads=2",
    "intermediate_size=20",
    "vocab_size=31",
    "max_position_embeddings=32",
)
LLAMA = (
    "hidden_size=16",
    "num_hidden_layers=2",
    "num_attention_heads=2",
    "num_key_value_heads=1",
    "intermediate_size=20",
    "vocab_size=31",
    "max_position_embeddings=32",
)
FILTER = "attention.filter={width: 6, norm: {kind: rmsnorm, eps: 1e-6}}"
MIXING = "mlp={{kind: channel-mixing, width: 20, activation: {}}}"
SCAN = "recurrence={kind: selective-scan, width: 12, state: 3, step_rank: 2, kernel: 4, activation: xielu}"
AFTER = "attention.qk_norm={kind: rmsnorm, eps: 1e-6, affine: false, order: after}"
GATE = "attention.gate={over: heads, activation: softplus}"
NO_MIXER = (
    "attention=[none, {heads: 2, kv_heads: 1, head_dim: 8}]",
    "position=none",
    "layer.norm.branches=[mlp, both]",
)
BOUNDED = (
    "recurrence={kind: matrix-state, heads: 4, key_heads: 2, key_dim: 3, value_dim: 5, update: delta, rate_scale: 1.5, "
    "decay: {kind: bounded, over: channels, bound: 2.0, rank: 2}, norm: {kind: rmsnorm, eps: 1e-6, affine: false}}"
)
LATENT = (
    "attention={kind: latent, latent: 8, query_latent: none, nope_dim: 6, rope_dim: 4, value_dim: 5, "
    "norm: {kind: rmsnorm, eps: 1e-6}, gate: {over: channels}}"
)
BOTH = (
    "layer.mixers=parallel",
    "attention.input_scale=0.7",
    "recurrence={kind: matrix-state, heads: 4, key_dim: 3, value_dim: 5, decay: {kind: step}, output_bias: true, "
    "output_scale: 1.4, scales: {queries: 0.6, step: 1.3}}",
)
STREAMS = "layer.streams={kind: altup, count: 3, active: 2, norm: {kind: rmsnorm, eps: 1e-6}}"
CONNECTED = (
    "layer.streams={kind: hyper-connections, count: 3, norm: {kind: rmsnorm, eps: 1e-6, affine: false}, eps: 0.01, "
    "mixing: {kind: sinkhorn, iterations: 3, eps: 0.01}}",
    "layer.norm.placement=sandwich",
    "layer.branch_scale=0.7",
)
SPARSE = "mlp.sparsity=0.4"
VALUES = (
    "attention.value_dim=5",
    "attention.value_scale=0.7",
    "attention.output_norm={kind: rmsnorm, eps: 1e-6}",
    "mlp.inner_norm={kind: rmsnorm, eps: 1e-6}",
    "layer.norm.mlp_placement=sandwich",
)
GROWS = "attention.query_scale={kind: stepped-log, coefficient: 0.5, span: 2}"

CASES = {
    "an encoder with a localized filter": ("bert", (*BERT, FILTER)),
    "an encoder with channel mixing": ("bert", (*BERT, MIXING.format("relu2"))),
    "an encoder with a filter and learned channel mixing": ("bert", (*BERT, FILTER, MIXING.format("xielu"))),
    "a decoder with a filter and learned channel mixing": ("llama", (*LLAMA, FILTER, MIXING.format("xielu"))),
    "a decoder with gated heads and norms after the rotation": ("llama", (*LLAMA, AFTER, GATE)),
    "a decoder with queries that grow": ("llama", (*LLAMA, GROWS)),
    "a decoder with an MLP alone in its first layer": ("llama", (*LLAMA, *NO_MIXER)),
    "a decoder with a bounded delta rule, keys shared": (
        "llama",
        (*LLAMA, "attention=none", "position=none", BOUNDED),
    ),
    "a decoder with attention next to a matrix state": ("llama", (*LLAMA, *BOTH)),
    "a decoder with three streams and sparse activations": ("llama", (*LLAMA, STREAMS, SPARSE)),
    "a decoder with hyper-connections": ("llama", (*LLAMA, *CONNECTED)),
    "a decoder with narrow values and inner norms": ("llama", (*LLAMA, *VALUES)),
    "a decoder with gated latent attention": ("llama", (*LLAMA, LATENT)),
    "a decoder with a learned scan": ("llama", (*LLAMA, "attention=none", "position=none", SCAN)),
}
ROWS = [[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]]


def torch_model(family: str, overrides: tuple[str, ...], seed: int) -> Model:
    spec = bind(family, None, None, overrides)
    model = meta_model(spec)
    return load_torch(model, open_slots(spec, model, None, seed))


def outputs(model: Model, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states of an encoder, logits of a decoder, of whole sequences."""
    batch, seq = ids.shape
    positions = torch.arange(seq).expand(batch, seq)
    seen = torch.ones(batch, 1, seq, seq, dtype=torch.bool)
    is_encoder = model.spec.topology == "encoder"
    masks = {name: seen if is_encoder else seen.tril() for name in model.shared_inputs.masks}
    types = torch.zeros_like(ids) if model.spec.embedding.token_types else None
    with torch.no_grad():
        result = model(ids, masks, positions, types, positions)
    return result.hidden_states if is_encoder else result.logits


@pytest.mark.parametrize("name", CASES)
def test_the_plan_computes_what_torch_does(name: str, tmp_path: Path) -> None:
    family, overrides = CASES[name]
    model = torch_model(family, overrides, seed=3)
    plan = build(family, random=3, out=tmp_path / "engine.plan", overrides=overrides)
    with closing(load(plan, threads=1)) as engine:
        run = engine.encode if model.spec.topology == "encoder" else engine.logits
        for rows in (ROWS, [row[:1] for row in ROWS]):
            np.testing.assert_allclose(run(rows), outputs(model, torch.tensor(rows)).numpy(), atol=1e-5)
        # A padded row is computed as if alone.
        ragged = [ROWS[0], [*ROWS[1][:3], -1, -1, -1, -1]]
        alone = outputs(model, torch.tensor([ROWS[1][:3]]))
        np.testing.assert_allclose(run(ragged)[1, :3], alone[0].numpy(), atol=1e-5)
        if model.spec.topology != "encoder":
            sequences = engine.sequences(1)
            steps = [sequences.append([[token]], logits="all")[0] for token in ROWS[0]]
            np.testing.assert_allclose(
                np.concatenate(steps), outputs(model, torch.tensor(ROWS[:1]))[0].numpy(), atol=1e-5
            )
