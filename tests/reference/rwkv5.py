"""RWKV-5.2 "Eagle" (Peng et al. 2024, section 3), from its formulas."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import silu
from tests.reference.rwkv import Rwkv, Shapes, before, cut

# A name's parts in the original files, and in those of the hub.
_HUB = {
    "emb": "rwkv.embeddings",
    "blocks": "rwkv.blocks",
    "ln_out": "rwkv.ln_out",
    "ln0": "pre_ln",
    "att": "attention",
    "ffn": "feed_forward",
    "time_mix_k": "time_mix_key",
    "time_mix_v": "time_mix_value",
    "time_mix_r": "time_mix_receptance",
    "time_mix_g": "time_mix_gate",
}
EPS = 1e-4


def hub_name(name: str) -> str:
    """Return the name of a tensor in the hub's converted files."""
    return ".".join(_HUB.get(part, part) for part in name.split("."))


def linear_attention(r: Tensor, k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, size: int) -> Tensor:
    """For each head y = r (S + diag(u) kᵀ v), then S = diag(w) S + kᵀ v; decay is of [seq, channels] or [channels]."""
    length, channels = r.shape
    r, k, v, w = (cut(x, size) for x in (r, k, v, decay.expand(length, channels)))
    state, rows = torch.zeros(channels // size, size, size), []
    for t in range(length):
        new = k[t][:, :, None] * v[t][:, None, :]
        rows.append((r[t][:, None, :] @ (state + bonus.reshape(-1, size, 1) * new)).reshape(-1))
        state = w[t][:, :, None] * state + new
    return torch.stack(rows)


class Rwkv5(Rwkv):
    """`hub` names the tensors as the hub's converted files do."""

    def __init__(
        self,
        seed: int,
        *,
        width: int = 24,
        inner: int = 24,
        head: int = 8,
        hub: bool = False,
        divisor: int = 8,
        vocab: int = 97,
        layers: int = 3,
        eps: float = EPS,
    ) -> None:
        self.hub = hub
        config: dict[str, Any] = {
            "model_type": "rwkv5",
            "architectures": ["RwkvForCausalLM"],
            "vocab_size": vocab,
            "hidden_size": width,
            "attention_hidden_size": inner,
            "intermediate_size": 40,
            "num_hidden_layers": layers,
            "head_size": head,
            "head_size_divisor": divisor,
            "layer_norm_epsilon": eps,
            "num_attention_heads": head,
            "rescale_every": 6,
            "model_version": "5_2",
            "tie_word_embeddings": False,
            "context_length": 64,
            "use_cache": True,
        }
        mix = (1, 1, width)
        time: Shapes = {f"time_mix_{name}": mix for name in "kvrg"}
        time |= {"time_decay": (inner // head, head), "time_faaaa": (inner // head, head)}
        time |= {f"{name}.weight": (inner, width) for name in ("receptance", "key", "value", "gate")}
        time |= {"output.weight": (width, inner), "ln_x.weight": (inner,), "ln_x.bias": (inner,)}
        channel: Shapes = {"time_mix_k": mix, "time_mix_r": mix, "key.weight": (40, width)}
        channel |= {"receptance.weight": (width, width), "value.weight": (width, 40)}
        gains = {"time_decay": 8.0, "time_faaaa": 4.0, "att.value.weight": 0.1, "time_mix_g": 3.0}
        head_eps = 1e-5 * divisor**2
        super().__init__(config, time, channel, seed, head=head, eps=eps, head_eps=head_eps, last_eps=1e-5, gains=gains)

    def time_mixing(self, n: int, x: Tensor) -> Tensor:
        name, last = f"blocks.{n}.att", before(x)
        blend = {
            m: x * self.flat(f"{name}.time_mix_{m}") + last * (1 - self.flat(f"{name}.time_mix_{m}")) for m in "kvrg"
        }
        r, k, v = (self.linear(f"{name}.{part}", blend[part[0]]) for part in ("receptance", "key", "value"))
        gate = silu(self.linear(f"{name}.gate", blend["g"]))
        decay = torch.exp(-torch.exp(self.flat(f"{name}.time_decay")))
        y = linear_attention(r, k, v, decay, self.flat(f"{name}.time_faaaa"), self.head)
        return self.linear(f"{name}.output", self.head_norm(f"{name}.ln_x", y) * gate)

    def channel_mixing(self, n: int, x: Tensor) -> Tensor:
        name, last = f"blocks.{n}.ffn", before(x)
        k, r = (x * self.flat(f"{name}.time_mix_{m}") + last * (1 - self.flat(f"{name}.time_mix_{m}")) for m in "kr")
        y = self.linear(f"{name}.value", torch.relu(self.linear(f"{name}.key", k)) ** 2)
        return torch.sigmoid(self.linear(f"{name}.receptance", r)) * y

    def save(self, folder: Any) -> None:
        """Under the original names, or the hub's."""
        super().save(folder)
        if self.hub:
            file = folder / "model.safetensors"
            save_file({hub_name(key): value for key, value in load_file(file).items()}, file, {"format": "pt"})


CASES = (
    Case("eagle", partial(Rwkv5, 1), length=19),
    Case("hub-names", partial(Rwkv5, 2, hub=True, inner=32, divisor=4, layers=2)),
)
