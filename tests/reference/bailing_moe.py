"""Ling 1 and 2 (Ling Team 2025), from their formulas: fused projections, and fine-grained experts with shared ones.

The experts of Ling 1 are weighed by their softmax. Those of Ling 2 have sigmoid scores and a bias on the selection, in
the groups whose best two sum highest (DeepSeek-V3 2024, section 2.1.2); queries and keys have norms and rotate in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, attend, heads_of, rotate_halves, silu, turns
from tests.reference.mixtures import routed

WIDTH, DENSE, INNER, VOCAB, LAYERS, HEADS, KEYS, SIZE, EPS, THETA = 36, 44, 14, 97, 3, 6, 3, 8, 0.1, 300.0


class Ling(ByHand):
    """A tiny model with `shared` experts and dense layers at the begin."""

    def __init__(self, seed: int, version: int, experts: int, *, shared: int, dense: int, **more: Any) -> None:
        self.second, self.dense = version == 2, dense
        config = {
            "model_type": "bailing_moe",
            "architectures": ["BailingMoeV2ForCausalLM" if self.second else "BailingMoeForCausalLM"],
            "vocab_size": VOCAB,
            "hidden_size": WIDTH,
            "intermediate_size": DENSE,
            "moe_intermediate_size": INNER,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KEYS,
            "head_dim": SIZE,
            "num_experts": experts,
            "num_shared_experts": shared,
            "num_experts_per_tok": 3,
            "first_k_dense_replace": dense,
            "norm_topk_prob": True,
            "hidden_act": "silu",
            "rms_norm_eps": EPS,
            "rope_theta": THETA,
            "rope_scaling": None,
            "max_position_embeddings": 64,
            "use_bias": False,
            "use_qkv_bias": False,
            "tie_word_embeddings": False,
            "embedding_dropout": 0.0,
            "output_dropout": 0.0,
        }
        if self.second:
            config |= {"score_function": "sigmoid", "moe_router_enable_expert_bias": True, "use_qk_norm": True}
            config |= {"router_dtype": "fp32", "moe_shared_expert_intermediate_size": INNER, "use_rmsnorm": True}
            config |= {"num_nextn_predict_layers": 0}
        else:
            config |= {"norm_head": False, "norm_softmax": False, "pretraining_tp": 1, "output_router_logits": False}
        config |= more
        shapes: dict[str, tuple[int, ...]] = {"model.word_embeddings.weight": (VOCAB, WIDTH)}
        for n in range(LAYERS):
            layer = f"model.layers.{n}."
            shapes |= {f"{layer}{norm}_layernorm.weight": (WIDTH,) for norm in ("input", "post_attention")}
            rows = (HEADS + 2 * KEYS) * SIZE
            shapes |= {f"{layer}attention.query_key_value.weight": (rows, WIDTH)}
            shapes |= {f"{layer}attention.dense.weight": (WIDTH, HEADS * SIZE)}
            if config["use_qkv_bias"]:
                shapes[f"{layer}attention.query_key_value.bias"] = (rows,)
            if config["use_bias"]:
                shapes[f"{layer}attention.dense.bias"] = (WIDTH,)
            if self.second:
                shapes |= {f"{layer}attention.{part}_layernorm.weight": (SIZE,) for part in ("query", "key")}
            mlps = {"mlp": DENSE}
            if n >= dense:
                mlps = {f"mlp.experts.{index}": INNER for index in range(experts)}
                mlps |= {"mlp.shared_experts": shared * INNER}
                shapes[f"{layer}mlp.gate.weight"] = (experts, WIDTH)
                if self.second:
                    shapes[f"{layer}mlp.gate.expert_bias"] = (experts,)
            for name, size in mlps.items():
                shapes |= {f"{layer}{name}.{part}_proj.weight": (size, WIDTH) for part in ("gate", "up")}
                shapes[f"{layer}{name}.down_proj.weight"] = (WIDTH, size)
        shapes |= {"model.norm.weight": (WIDTH,), "lm_head.weight": (VOCAB, WIDTH)}
        super().__init__(config, shapes, seed)

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        x = self.weights["model.word_embeddings.weight"][list(ids)]
        for n in range(LAYERS):
            layer = f"model.layers.{n}"
            x = x + self.attention(f"{layer}.attention", self.rms_norm(f"{layer}.input_layernorm", x, EPS))
            y = self.rms_norm(f"{layer}.post_attention_layernorm", x, EPS)
            x = x + (self.mlp(f"{layer}.mlp", y) if n < self.dense else self.mixture(f"{layer}.mlp", y))
        return self.linear("lm_head", self.rms_norm("model.norm", x, EPS))

    def attention(self, name: str, x: Tensor) -> Tensor:
        parts = self.linear(f"{name}.query_key_value", x).split([HEADS * SIZE, KEYS * SIZE, KEYS * SIZE], dim=-1)
        q, k, v = (heads_of(part, heads) for part, heads in zip(parts, (HEADS, KEYS, KEYS), strict=True))
        if self.second:
            q, k = (self.rms_norm(f"{name}.{part}_layernorm", z, EPS) for part, z in (("query", q), ("key", k)))
        turn = turns(len(x), int(SIZE * self.config.get("partial_rotary_factor", 1.0)), THETA)
        return self.linear(f"{name}.dense", attend(rotate_halves(q, turn), rotate_halves(k, turn), v))

    def mixture(self, name: str, x: Tensor) -> Tensor:
        logits = self.linear(f"{name}.gate", x)
        count, normalize = 3, self.config["norm_topk_prob"]
        y = self.mlp(f"{name}.shared_experts", x)
        if not self.second:
            return y + routed(
                logits.softmax(dim=-1), count, lambda e, row: self.mlp(f"{name}.experts.{e}", row), x, normalize
            )
        rows = []
        for row, scores in zip(x, torch.sigmoid(logits), strict=True):
            best = self.best(scores + self.weights[f"{name}.gate.expert_bias"], count)
            chosen = sum(self.mlp(f"{name}.experts.{e}", row) * scores[e] for e in best)
            rows.append(chosen / sum(scores[e] for e in best) * self.config["routed_scaling_factor"])
        return y + torch.stack(rows)

    def best(self, scores: Tensor, count: int) -> list[int]:
        """The experts with the highest scores, of the groups whose two best ones sum highest."""
        groups = scores.reshape(self.config["n_group"], -1)
        sums = [float(group.sort().values[-2:].sum()) for group in groups]
        allowed = sorted(range(len(sums)), key=lambda group: -sums[group])[: self.config["topk_group"]]
        size = groups.shape[1]
        experts = [group * size + index for group in allowed for index in range(size)]
        return sorted(experts, key=lambda expert: -float(scores[expert]))[:count]

    def mlp(self, name: str, x: Tensor) -> Tensor:
        gate, up = (self.linear(f"{name}.{part}_proj", x) for part in ("gate", "up"))
        return self.linear(f"{name}.down_proj", silu(gate) * up)


SECOND: dict[str, Any] = {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "partial_rotary_factor": 0.5}
CASES = (
    Case("ling-2", partial(Ling, 1, 2, 8, shared=1, dense=1, **SECOND)),
    Case("ling-1", partial(Ling, 2, 1, 6, shared=2, dense=0, use_bias=True, use_qkv_bias=True)),
)
