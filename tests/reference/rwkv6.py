"""RWKV-6 "Finch" (Peng et al. 2024, section 4), from its formulas."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import silu
from tests.reference.rwkv import Rwkv, Shapes, before
from tests.reference.rwkv5 import EPS, linear_attention


class Rwkv6(Rwkv):
    """Every decay and every blend depends on the data."""

    def __init__(
        self,
        seed: int,
        *,
        width: int = 24,
        inner: int = 24,
        head: int = 8,
        rank: int = 5,
        decay_rank: int = 7,
        layers: int = 3,
        vocab: int = 97,
        eps: float = EPS,
    ) -> None:
        config: dict[str, Any] = {
            "model_type": "rwkv6",
            "architectures": ["Rwkv6ForCausalLM"],
            "vocab_size": vocab,
            "hidden_size": width,
            "attention_hidden_size": inner,
            "intermediate_size": 40,
            "num_hidden_layers": layers,
            "head_size": head,
            "head_size_divisor": 8,
            "layer_norm_epsilon": eps,
            "num_attention_heads": head,
            "rescale_every": 6,
            "time_mix_extra_dim": rank,
            "time_decay_extra_dim": decay_rank,
            "tie_word_embeddings": False,
        }
        mix = (1, 1, width)
        time: Shapes = {f"time_maa_{name}": mix for name in "xwkvrg"}
        time |= {"time_maa_w1": (width, 5 * rank), "time_maa_w2": (5, rank, width), "time_decay": (1, 1, inner)}
        time |= {"time_decay_w1": (width, decay_rank), "time_decay_w2": (decay_rank, inner)}
        time |= {"time_faaaa": (inner // head, head)}
        time |= {f"{name}.weight": (inner, width) for name in ("receptance", "key", "value", "gate")}
        time |= {"output.weight": (width, inner), "ln_x.weight": (inner,), "ln_x.bias": (inner,)}
        channel: Shapes = {"time_maa_k": mix, "time_maa_r": mix, "key.weight": (40, width)}
        channel |= {"receptance.weight": (width, width), "value.weight": (width, 40)}
        gains = {"time_decay": 8.0, "time_faaaa": 4.0, "att.value.weight": 0.1, "maa_w1": 2.0, "maa_w2": 2.0}
        super().__init__(config, time, channel, seed, head=head, eps=eps, head_eps=64e-5, last_eps=1e-5, gains=gains)

    def time_mixing(self, n: int, x: Tensor) -> Tensor:
        name, step = f"blocks.{n}.att", before(x) - x
        inner = torch.tanh((x + step * self.flat(f"{name}.time_maa_x")) @ self.weights[f"{name}.time_maa_w1"])
        paths = torch.einsum("sir,irc->isc", inner.reshape(len(x), 5, -1), self.weights[f"{name}.time_maa_w2"])
        blend = {
            m: x + step * (self.flat(f"{name}.time_maa_{m}") + path) for m, path in zip("wkvrg", paths, strict=True)
        }
        r, k, v = (self.linear(f"{name}.{part}", blend[part[0]]) for part in ("receptance", "key", "value"))
        gate = silu(self.linear(f"{name}.gate", blend["g"]))
        path = torch.tanh(blend["w"] @ self.weights[f"{name}.time_decay_w1"]) @ self.weights[f"{name}.time_decay_w2"]
        decay = torch.exp(-torch.exp(self.flat(f"{name}.time_decay") + path))
        y = linear_attention(r, k, v, decay, self.flat(f"{name}.time_faaaa"), self.head)
        return self.linear(f"{name}.output", self.head_norm(f"{name}.ln_x", y) * gate)

    def channel_mixing(self, n: int, x: Tensor) -> Tensor:
        name, step = f"blocks.{n}.ffn", before(x) - x
        k, r = (x + step * self.flat(f"{name}.time_maa_{m}") for m in "kr")
        y = self.linear(f"{name}.value", torch.relu(self.linear(f"{name}.key", k)) ** 2)
        return torch.sigmoid(self.linear(f"{name}.receptance", r)) * y


CASES = (
    Case("finch", partial(Rwkv6, 1), length=19),
    Case("wide-heads", partial(Rwkv6, 2, inner=36, head=12, rank=3, decay_rank=5, layers=2)),
)
