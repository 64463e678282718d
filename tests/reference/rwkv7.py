"""RWKV-7 "Goose" (Peng et al. 2025, section 4), from its formulas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from archc.proof.case import Case
from tests.reference.rwkv import Rwkv, Shapes, before, cut

EPS = 1e-4
# A name's parts in the original files, and in those of flash-linear-attention (fla-org, utils/convert_from_rwkv7.py).
_FLA = {
    "emb": "model.embeddings",
    "blocks": "model.layers",
    "ln_out": "model.norm",
    "head": "lm_head",
    "ln0": "pre_norm",
    "ln1": "attn_norm",
    "ln2": "ffn_norm",
    "ln_x": "g_norm",
}
_PROJECTIONS = {"receptance": "r_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}


def in_fla(name: str, value: Tensor) -> tuple[str, Tensor]:
    """The name of a tensor and its layout in the files of flash-linear-attention."""
    if path := re.search(r"att\.([wavg])([012])$", name):
        part = ("lora.2.bias", "lora.0.weight", "lora.2.weight")[int(path[2])]
        name = name.replace(path[0], f"attn.{path[1]}_lora.{part}")
        value = value.T.contiguous() if path[2] != "0" else value.reshape(-1)
    if ".att." in name:
        parts = [_PROJECTIONS.get(part, part) for part in name.replace(".att.", ".attn.").split(".")]
        name = ".".join(parts)
    if re.search(r"k_k|k_a|ffn.x_k", name):
        value = value.reshape(-1)
    return ".".join(_FLA.get(part, part) for part in name.split(".")), value


class Rwkv7(Rwkv):
    """`spare` keeps the unused value paths of the first layer in the checkpoint, as some files do.

    `fla` names the tensors as flash-linear-attention does, and `joined` has the six blends of a layer in one tensor.
    """

    def __init__(
        self,
        seed: int,
        *,
        width: int = 24,
        head: int = 8,
        rank: int = 4,
        layers: int = 3,
        spare: bool = False,
        fla: bool = False,
        joined: bool = False,
        vocab: int = 97,
        eps: float = EPS,
    ) -> None:
        self.fla, self.joined = fla, joined
        config: dict[str, Any] = {
            "model_type": "rwkv7",
            "architectures": ["RWKV7ForCausalLM"],
            "vocab_size": vocab,
            "hidden_size": width,
            "intermediate_size": 40,
            "num_hidden_layers": layers,
            "head_dim": head,
            "norm_eps": eps,
            "decay_low_rank_dim": rank,
            "a_low_rank_dim": rank + 1,
            "v_low_rank_dim": rank + 2,
            "gate_low_rank_dim": rank + 3,
            "hidden_act": "sqrelu",
            "tie_word_embeddings": False,
            "norm_bias": True,
        }
        if fla:
            config |= {"norm_first": True, "attn": None, "attn_mode": "chunk", "num_heads": width // head}
            config |= {"value_dim": [width] * layers, "hidden_ratio": 4.0}
            config |= {"fuse_norm": True, "fuse_cross_entropy": True}
        mix = (1, 1, width)
        time: Shapes = {f"x_{name}": mix for name in "rwkvag"}
        for path, inner in (("w", rank), ("a", rank + 1), ("v", rank + 2), ("g", rank + 3)):
            time |= {f"{path}1": (width, inner), f"{path}2": (inner, width)}
        time |= {f"{name}0": mix for name in "wav"}
        time |= {"k_k": mix, "k_a": mix, "r_k": (width // head, head)}
        time |= {f"{name}.weight": (width, width) for name in ("receptance", "key", "value", "output")}
        time |= {"ln_x.weight": (width,), "ln_x.bias": (width,)}
        channel: Shapes = {"x_k": mix, "key.weight": (40, width), "value.weight": (width, 40)}
        gains = {
            "att.w0": 20.0,
            "att.a0": 8.0,
            "k_a": 4.0,
            "r_k": 0.5,
            "att.value.weight": 0.1,
            "att.g2": 8.0,
            "att.v2": 4.0,
        }
        super().__init__(
            config, time, channel, seed, head=head, eps=eps, head_eps=head * eps, last_eps=eps, gains=gains
        )
        for name in ("v0", "v1", "v2"):
            unused = self.weights.pop(f"blocks.0.att.{name}")
            if spare:
                self.buffers[f"blocks.0.att.{name}"] = unused

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        self.first = torch.zeros(())
        return super().row(ids)

    def path(self, name: str, x: Tensor, function: Any = lambda inner: inner) -> Tensor:
        """function(x A) B."""
        return function(x @ self.weights[f"{name}1"]) @ self.weights[f"{name}2"]

    def time_mixing(self, n: int, x: Tensor) -> Tensor:
        name, step = f"blocks.{n}.att", before(x) - x
        blend = {m: x + step * self.flat(f"{name}.x_{m}") for m in "rwkvag"}
        r, k, v = (self.linear(f"{name}.{part}", blend[part[0]]) for part in ("receptance", "key", "value"))
        sigmoid = torch.sigmoid
        decay = torch.exp(-0.606531 * sigmoid(self.flat(f"{name}.w0") + self.path(f"{name}.w", blend["w"], torch.tanh)))
        if n == 0:
            self.first = v
        else:
            v = v + (self.first - v) * sigmoid(self.flat(f"{name}.v0") + self.path(f"{name}.v", blend["v"]))
        rate = sigmoid(self.flat(f"{name}.a0") + self.path(f"{name}.a", blend["a"]))
        gate = self.path(f"{name}.g", blend["g"], sigmoid)
        direction = cut(k * self.flat(f"{name}.k_k"), self.head)
        direction = direction / direction.norm(dim=-1, keepdim=True)
        k = k * (1 + (rate - 1) * self.flat(f"{name}.k_a"))
        heads = [cut(part, self.head) for part in (r, decay, k, v, rate)]
        y = self.delta_rule(direction, *heads)
        y = self.head_norm(f"{name}.ln_x", y.reshape(len(x), -1))
        own = (heads[0] * heads[2] * self.weights[f"{name}.r_k"]).sum(dim=-1, keepdim=True) * heads[3]
        return self.linear(f"{name}.output", (y + own.reshape(len(x), -1)) * gate)

    @staticmethod
    def delta_rule(direction: Tensor, r: Tensor, decay: Tensor, k: Tensor, v: Tensor, rate: Tensor) -> Tensor:
        """S = S (diag(w) − κ̂ᵀ (a ⊙ κ̂)) + vᵀ k, y = S r, all of [seq, heads, size]; S maps keys to values."""
        length, heads, size = r.shape
        state, rows = torch.zeros(heads, size, size), []
        for t in range(length):
            turn = torch.diag_embed(decay[t]) - direction[t][:, :, None] * (rate[t] * direction[t])[:, None, :]
            state = state @ turn + v[t][:, :, None] * k[t][:, None, :]
            rows.append((state @ r[t][:, :, None])[:, :, 0])
        return torch.stack(rows)

    def channel_mixing(self, n: int, x: Tensor) -> Tensor:
        k = x + (before(x) - x) * self.flat(f"blocks.{n}.ffn.x_k")
        return self.linear(f"blocks.{n}.ffn.value", torch.relu(self.linear(f"blocks.{n}.ffn.key", k)) ** 2)

    def save(self, folder: Path) -> None:
        """Under the original names, or those of flash-linear-attention."""
        super().save(folder)
        if not self.fla:
            return
        file = folder / "model.safetensors"
        named = dict(in_fla(name, value) for name, value in load_file(file).items())
        for n in range(self.layers) if self.joined else ():
            blends = [named.pop(f"model.layers.{n}.attn.x_{part}").reshape(1, -1) for part in "rwkvag"]
            named[f"model.layers.{n}.attn.x_x"] = torch.cat(blends)
        save_file(named, file, {"format": "pt"})


CASES = (
    Case("goose", partial(Rwkv7, 1), length=19),
    Case("unused-paths", partial(Rwkv7, 2, head=12, rank=3, layers=2, spare=True)),
    Case("flash-linear-attention", partial(Rwkv7, 3, fla=True, layers=2)),
    Case("joined-blends", partial(Rwkv7, 4, fla=True, joined=True, layers=2)),
)
