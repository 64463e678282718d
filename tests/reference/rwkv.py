"""Shared code of the references of RWKV-5 to RWKV-7: token shift, the two norms, channel mixing, the original names.

A state runs through each row token by token; that is the papers' own form (Peng et al. 2024, 2025).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tests.reference.by_hand import ByHand

Shapes = dict[str, tuple[int, ...]]


class Rwkv(ByHand):
    """Layers of time mixing and channel mixing on a stream that is normed right after the embedding.

    The stream is small where `gains` make it so, and then an epsilon of 1e-5 shows.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        time_mixing: Shapes,
        channel_mixing: Shapes,
        seed: int,
        *,
        head: int,
        eps: float,
        head_eps: float,
        last_eps: float,
        gains: Mapping[str, float],
    ) -> None:
        width, layers, vocab = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
        self.layers, self.head, self.eps, self.head_eps, self.last_eps = layers, head, eps, head_eps, last_eps
        shapes: Shapes = {"emb.weight": (vocab, width), "head.weight": (vocab, width)}
        norms = {f"{norm}.{part}": (width,) for norm in ("ln1", "ln2") for part in ("weight", "bias")}
        for n in range(layers):
            parts = norms | {f"att.{name}": shape for name, shape in time_mixing.items()}
            parts |= {f"ffn.{name}": shape for name, shape in channel_mixing.items()}
            shapes |= {f"blocks.{n}.{name}": shape for name, shape in parts.items()}
        for norm in ("blocks.0.ln0", "ln_out"):
            shapes |= {f"{norm}.{part}": (width,) for part in ("weight", "bias")}
        small = {"ln0.weight": 0.02, "ln0.bias": 0.02, "att.output.weight": 0.05, "ffn.value.weight": 0.05}
        super().__init__(config, shapes, seed, gains=small | dict(gains))

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        x = self.layer_norm("blocks.0.ln0", self.weights["emb.weight"][list(ids)], self.eps)
        for n in range(self.layers):
            x = x + self.time_mixing(n, self.layer_norm(f"blocks.{n}.ln1", x, self.eps))
            x = x + self.channel_mixing(n, self.layer_norm(f"blocks.{n}.ln2", x, self.eps))
        return self.linear("head", self.layer_norm("ln_out", x, self.last_eps))

    @abstractmethod
    def time_mixing(self, n: int, x: Tensor) -> Tensor:
        """The recurrent branch of layer n: [seq, width] → [seq, width]."""

    @abstractmethod
    def channel_mixing(self, n: int, x: Tensor) -> Tensor:
        """The other branch: [seq, width] → [seq, width]."""

    def flat(self, name: str) -> Tensor:
        """A tensor's numbers in one row."""
        return self.weights[name].reshape(-1)

    def head_norm(self, name: str, x: Tensor) -> Tensor:
        """Each head by itself, then a weight and a bias for each channel."""
        heads = x.reshape(len(x), -1, self.head)
        centred = heads - heads.mean(dim=-1, keepdim=True)
        scaled = centred / torch.sqrt((centred * centred).mean(dim=-1, keepdim=True) + self.head_eps)
        return scaled.reshape(len(x), -1) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def before(x: Tensor) -> Tensor:
    """Each position's predecessor; zero before the first."""
    return torch.cat((torch.zeros_like(x[:1]), x[:-1]))


def cut(x: Tensor, size: int) -> Tensor:
    """[seq, heads · size] → [seq, heads, size]."""
    return x.reshape(len(x), -1, size)
