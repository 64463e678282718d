"""DeepSeekMoE (Dai et al. 2024), from its formulas: a llama whose MLPs are fine-grained experts and shared ones.

The first layers are dense. A token's experts are weighed by their softmax over all routed experts; what the shared
experts give is added to their sum. The shared experts are kept as one MLP of their joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, attend, heads_of, rotate_halves, silu, turns
from tests.reference.mixtures import routed


class DeepseekMoe(ByHand):
    """`shared` experts of the same width as each of the `routed` ones; `dense` layers before them."""

    def __init__(
        self,
        seed: int,
        *,
        experts: int = 6,
        shared: int | None = 2,
        dense: int = 1,
        layers: int = 3,
        vocab: int = 97,
        **more: Any,
    ) -> None:
        width, hidden, inner, self.heads, keys = 36, 44, 14, 6, 3
        self.layers, self.eps, self.width = layers, 0.1, width // self.heads
        config = {
            "model_type": "deepseek",
            "architectures": ["DeepseekForCausalLM"],
            "vocab_size": vocab,
            "hidden_size": width,
            "intermediate_size": hidden,
            "moe_intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": keys,
            "n_routed_experts": experts,
            "n_shared_experts": shared,
            "num_experts_per_tok": 3,
            "first_k_dense_replace": dense,
            "moe_layer_freq": 1,
            "norm_topk_prob": False,
            "scoring_func": "softmax",
            "aux_loss_alpha": 0.001,
            "seq_aux": True,
            "hidden_act": "silu",
            "rms_norm_eps": self.eps,
            "rope_theta": 300.0,
            "max_position_embeddings": 64,
            "attention_bias": False,
            "tie_word_embeddings": False,
            "initializer_range": 0.02,
            "pretraining_tp": 1,
            "use_cache": True,
            **more,
        }
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, width)}
        for n in range(layers):
            layer = f"model.layers.{n}."
            shapes |= {f"{layer}{norm}_layernorm.weight": (width,) for norm in ("input", "post_attention")}
            shapes |= {f"{layer}self_attn.{part}_proj.weight": (width, width) for part in "qo"}
            shapes |= {f"{layer}self_attn.{part}_proj.weight": (keys * self.width, width) for part in "kv"}
            mlps = {"mlp": hidden}
            if n >= dense and n % config["moe_layer_freq"] == 0:  # type: ignore[operator]
                mlps = {f"mlp.experts.{index}": inner for index in range(experts)}
                mlps |= {"mlp.shared_experts": shared * inner} if shared else {}
                shapes[f"{layer}mlp.gate.weight"] = (experts, width)
            for name, size in mlps.items():
                shapes |= {f"{layer}{name}.{part}_proj.weight": (size, width) for part in ("gate", "up")}
                shapes[f"{layer}{name}.down_proj.weight"] = (width, size)
        shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocab, width)}
        super().__init__(config, shapes, seed)

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        x = self.weights["model.embed_tokens.weight"][list(ids)]
        turn = turns(len(ids), self.width, 300.0)
        for n in range(self.layers):
            layer = f"model.layers.{n}"
            y = self.rms_norm(f"{layer}.input_layernorm", x, self.eps)
            q, k, v = (self.linear(f"{layer}.self_attn.{part}_proj", y) for part in "qkv")
            q, k = rotate_halves(heads_of(q, self.heads), turn), rotate_halves(heads_of(k, 3), turn)
            x = x + self.linear(f"{layer}.self_attn.o_proj", attend(q, k, heads_of(v, 3)))
            x = x + self.mixture(f"{layer}.mlp", self.rms_norm(f"{layer}.post_attention_layernorm", x, self.eps))
        return self.linear("lm_head", self.rms_norm("model.norm", x, self.eps))

    def mixture(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.gate.weight" not in self.weights:
            return self.mlp(name, x)
        scores = self.linear(f"{name}.gate", x).softmax(dim=-1)
        y = routed(scores, 3, lambda e, row: self.mlp(f"{name}.experts.{e}", row), x, self.config["norm_topk_prob"])
        return y + self.mlp(f"{name}.shared_experts", x) if self.config["n_shared_experts"] else y

    def mlp(self, name: str, x: Tensor) -> Tensor:
        gate, up = (self.linear(f"{name}.{part}_proj", x) for part in ("gate", "up"))
        return self.linear(f"{name}.down_proj", silu(gate) * up)


CASES = (
    Case("16b", partial(DeepseekMoe, 1)),
    Case("normalized", partial(DeepseekMoe, 2, norm_topk_prob=True, experts=5, shared=1)),
    Case("every-second", partial(DeepseekMoe, 3, dense=0, moe_layer_freq=2, shared=None)),
)
