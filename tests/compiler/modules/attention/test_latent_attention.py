"""Latent attention against numbers worked out by hand, and against its formula head by head."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from archc.archspec import vocabulary as words
from archc.compiler.modules.attention.latent_attention import LatentAttention
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.ops.latent_attention import latent_attention
from tests.compiler.modules.values import random_parameters

SMALL = {"heads": 1, "latent": 1, "nope_dim": 1, "rope_dim": 2, "value_dim": 1, "norm": words.NoNorm()}


def causal(length: int, batch: int = 1) -> Tensor:
    return torch.ones(length, length).tril().bool().expand(batch, 1, length, length)


def by_hand(position: words.Position, **changes: object) -> LatentAttention:
    """Width 2: the latent is the first number, the rotating key (second, 0), a query (10 · first, second, 0)."""
    word = words.LatentAttention.model_validate(SMALL | {"scale": 0.5} | changes)
    module = LatentAttention(word, position, 2, torch.float32)
    values = {
        "q.weight": [[10.0, 0.0], [0.0, 1.0], [0.0, 0.0]],
        "kv_down.weight": [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]],
        "k_up.weight": [[2.0]],
        "v_up.weight": [[3.0]],
        "o.weight": [[1.0], [100.0]],
    }
    if isinstance(word.norm, words.RmsNorm):
        values["kv_norm.weight"] = [4.0]
    if word.sinks:
        values["sinks"] = [1.5]
    if word.query_scale is not None:
        values |= {"query_scale.slope": [0.3], "query_scale.offset": [0.5]}
    module.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    return module


X = torch.tensor([[[0.1, 0.2], [0.3, -0.4]]])


def expected(turn: float) -> list[list[float]]:
    """Two tokens of X; the second's rotating parts turn by an angle, so its product with the first's by its cosine."""
    first = 0.5 * (3.0 * 2 * 0.1 + 0.2 * -0.4 * math.cos(turn))
    second = 0.5 * (3.0 * 2 * 0.3 + 0.4 * 0.4)
    share = math.exp(first) / (math.exp(first) + math.exp(second))
    y = [3 * 0.1, 3 * (share * 0.1 + (1 - share) * 0.3)]
    return [[value, 100 * value] for value in y]


def test_two_tokens_without_positions() -> None:
    y, present = by_hand(words.NoPosition())(X, LayerInputs(causal(2)), {})
    assert list(present) == ["latent"]
    assert y[0].tolist() == pytest.approx([pytest.approx(row) for row in expected(0.0)])


def test_a_layer_reads_the_latents_of_an_earlier_one() -> None:
    own = by_hand(words.NoPosition())
    expected, present = own(X, LayerInputs(causal(2)), {})
    reader = LatentAttention(own.word.model_copy(update={"latents_of": 0}), words.NoPosition(), 2, torch.float32)
    reader.load_state_dict({name: value for name, value in own.state_dict().items() if "kv_down" not in name})
    y, passed = reader(X, LayerInputs(causal(2), cross_layer=present), {})
    assert passed == {}
    torch.testing.assert_close(y, expected)


def test_a_learned_factor_of_a_query_is_linear_in_the_log_of_its_position() -> None:
    plain, scaled = by_hand(words.NoPosition()), by_hand(words.NoPosition(), query_scale={"kind": "learned-log"})
    logs = torch.tensor([0.0, math.log(2)]).reshape(1, 1, 2, 1)
    y, _ = scaled(X, LayerInputs(causal(2), query_scale_B1S1=logs), {})
    # The slope is 0.3 and the offset 0.5: the second query has the factor 0.3 · ln 2 + 0.5.
    factors = torch.tensor([0.5, 0.3 * math.log(2) + 0.5]).reshape(1, 1, 2, 1)
    expected, _ = plain(X, LayerInputs(causal(2), query_scale_B1S1=factors), {})
    torch.testing.assert_close(y, expected)


def test_a_latent_alone_has_no_rotating_part() -> None:
    word = words.LatentAttention.model_validate(SMALL | {"scale": 0.5, "rope_dim": 0, "heads": 2})
    module = random_parameters(LatentAttention(word, words.NoPosition(), 2, torch.float32)).requires_grad_(False)
    scales = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1)
    hidden_first = torch.cat((torch.zeros(1, 1, 2, 1).bool(), causal(2)), dim=-1)
    inputs = LayerInputs(hidden_first, torch.tensor([1]), query_scale_B1S1=scales)
    y, present = module(X, inputs, {"latent": torch.full((1, 1, 4, 1), 9.0)})
    latents = X[0] @ module.kv_down.weight[0]
    assert present["latent"][0, 0, 1:3, 0].tolist() == pytest.approx(latents.tolist())
    mixed = []
    for head in range(2):
        q = float(3.0 * (X[0, 1] @ module.q.weight[head]))
        scores = [math.exp(0.5 * q * float(module.k_up.weight[head, 0] * latent)) for latent in latents]
        share = sum(score * float(latent) for score, latent in zip(scores, latents, strict=True)) / sum(scores)
        mixed.append(share * float(module.v_up.weight[head, 0]))
    assert y[0, 1].tolist() == pytest.approx((module.o.weight @ torch.tensor(mixed)).tolist(), abs=1e-6)


def test_a_sink_takes_a_share_of_the_weights() -> None:
    module = by_hand(words.NoPosition(), sinks=True)
    y, _ = module(X, LayerInputs(causal(2)), {})
    score = 0.5 * (1.0 * 2 * 0.1 + 0.2 * 0.2)
    assert y[0, 0, 0].item() == pytest.approx(3 * 0.1 * math.exp(score) / (math.exp(score) + math.exp(1.5)))


@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_only_the_rotating_part_turns(pairing: str) -> None:
    rope = words.Rope.model_validate({"theta": 10.0, "pairing": pairing})
    angles = torch.tensor([0.0, 0.7]).reshape(1, 2, 1)
    inputs = LayerInputs(causal(2), cos_BSR=angles.cos(), sin_BSR=angles.sin())
    y, _ = by_hand(rope)(X, inputs, {})
    assert y[0].tolist() == pytest.approx([pytest.approx(row) for row in expected(0.7)])


def test_the_cache_holds_the_normed_latent_and_the_turned_key() -> None:
    module = by_hand(words.Rope(theta=10.0), norm=words.RmsNorm(eps=1.0))
    angles = torch.tensor([0.0, 0.7]).reshape(1, 2, 1)
    cache = torch.full((1, 1, 5, 3), 9.0)
    inputs = LayerInputs(causal(2), torch.tensor([0]), cos_BSR=angles.cos(), sin_BSR=angles.sin())
    whole, present = module(X, inputs, {"latent": cache})
    rows = [[4 * 0.1 / math.sqrt(1.01), 0.2, 0.0]]
    rows += [[4 * 0.3 / math.sqrt(1.09), -0.4 * math.cos(0.7), -0.4 * math.sin(0.7)], [9.0] * 3]
    assert present["latent"][0, 0, :3].tolist() == pytest.approx([pytest.approx(row) for row in rows])
    state = {"latent": cache}
    for step in range(2):
        mask, at = torch.ones(1, 1, 1, step + 1).bool(), torch.tensor([step])
        here = angles[:, step : step + 1]
        one, state = module(X[:, step : step + 1], LayerInputs(mask, at, cos_BSR=here.cos(), sin_BSR=here.sin()), state)
        assert one[0, 0].tolist() == pytest.approx(whole[0, step].tolist())


def test_a_latent_of_queries_is_normed_and_biases_are_where_they_are_asked_for() -> None:
    word = words.LatentAttention.model_validate(
        SMALL | {"heads": 2, "query_latent": 4, "norm": words.RmsNorm(eps=1.0), "bias": {"down": True, "out": True}}
    )
    module = LatentAttention(word, words.NoPosition(), 5, torch.float32)
    assert {name: list(parameter.shape) for name, parameter in module.named_parameters()} == {
        "q_down.weight": [4, 5],
        "q_down.bias": [4],
        "q_norm.weight": [4],
        "q_up.weight": [6, 4],
        "kv_down.weight": [3, 5],
        "kv_down.bias": [3],
        "kv_norm.weight": [1],
        "k_up.weight": [2, 1],
        "v_up.weight": [2, 1],
        "o.weight": [5, 2],
        "o.bias": [5],
    }
    assert module.scale == pytest.approx(1 / math.sqrt(3))


def test_queries_and_gates_of_both_latents() -> None:
    changes = {"query_latent": 3, "norm": words.RmsNorm(eps=1.0), "queries": "both"}
    word = words.LatentAttention.model_validate(SMALL | changes | {"gate": {"source": "queries"}})
    module = random_parameters(LatentAttention(word, words.NoPosition(), 5, torch.float32))
    x = torch.randn(1, 1, 5)
    latent = x @ module.q_down.weight.T
    both = torch.cat((module.q_norm(latent), latent), dim=-1)
    normed = module.kv_norm(module.kv_down(x)[..., :1])
    # One token, whose value the gate of both latents scales.
    expected = (normed @ module.v_up.weight.T * (both @ module.gate.projection.weight.T).sigmoid()) @ module.o.weight.T
    torch.testing.assert_close(module(x, LayerInputs(causal(1)), {})[0], expected)
    assert list(module.q_up.weight.shape) == [3, 6]


def test_latents_are_scaled_after_their_norms_and_the_rotating_key_has_one() -> None:
    norm = words.RmsNorm(eps=1.0)
    changes = {"query_latent": 3, "norm": norm, "latent_scale": 2.0, "query_latent_scale": 3.0, "rope_norm": norm}
    word = words.LatentAttention.model_validate(SMALL | changes)
    module = random_parameters(LatentAttention(word, words.NoPosition(), 5, torch.float32))
    plain = random_parameters(LatentAttention(word, words.NoPosition(), 5, torch.float32))
    x, cache = torch.randn(1, 2, 5), {"latent": torch.zeros(1, 1, 2, 3)}
    _, present = module(x, LayerInputs(causal(2), torch.tensor([0])), cache)
    latent, key = module.kv_down(x).split([1, 2], dim=-1)
    normed = [x / (x.square().mean(-1, keepdim=True) + 1).sqrt() for x in (latent, key)]
    expected = torch.cat((2 * module.kv_norm.weight * normed[0], module.k_rope_norm.weight * normed[1]), dim=-1)
    torch.testing.assert_close(present["latent"][:, 0], expected)
    # The factor on the latent of queries is one on their projection.
    plain.word = word.model_copy(update={"query_latent_scale": None})
    plain.q_up.weight.data *= 3
    torch.testing.assert_close(module(x, LayerInputs(causal(2)), {})[0], plain(x, LayerInputs(causal(2)), {})[0])


def test_the_operator_head_by_head() -> None:
    heads, nope, rope, value, latent, seq, total = 3, 4, 2, 5, 6, 2, 4
    q, rotated = torch.randn(1, heads, seq, nope), torch.randn(1, heads, seq, rope)
    stored = torch.randn(1, 1, total, latent + rope)
    k_up, v_up = torch.randn(heads * nope, latent), torch.randn(heads * value, latent)
    mask = torch.tensor([[True, True, True, False], [True] * 4])[None, None]
    got = latent_attention(q, rotated, stored, k_up, v_up, mask, 0.3)
    for head in range(heads):
        keys = [k_up[head * nope : (head + 1) * nope] @ token[:latent] for token in stored[0, 0]]
        values = [v_up[head * value : (head + 1) * value] @ token[:latent] for token in stored[0, 0]]
        for query in range(seq):
            seen = [index for index in range(total) if mask[0, 0, query, index]]
            scores = torch.tensor(
                [
                    0.3 * (q[0, head, query] @ keys[index] + rotated[0, head, query] @ stored[0, 0, index, latent:])
                    for index in seen
                ]
            )
            wanted = sum(share * values[index] for share, index in zip(scores.softmax(0), seen, strict=True))
            torch.testing.assert_close(got[0, head, query], wanted)
    arguments = (q, rotated, stored, k_up, v_up, mask, 0.3)
    operator = torch.ops.archc.latent_attention.default
    torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
