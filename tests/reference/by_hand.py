"""References of our own, for families that transformers has no class of: float32, one row at a time, no cache.

Each subclass writes its family's computation down from the paper, and its checkpoint under the official names.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from archc.proof.case import Ids, Outputs
from archc.proof.random_weights import normal


class ByHand(ABC):
    """A config, random weights of the given shapes, and what every decoder is made of.

    `gains` are factors on the weights whose names end so: with small activations an epsilon of 1e-6 shows. `buffers`
    are in the checkpoint and no part of the model.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        seed: int,
        *,
        gains: Mapping[str, float] | None = None,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config, self.buffers = dict(config), dict(buffers or {})
        self.weights = {}
        for name, shape in shapes.items():
            value = self.spread(name, normal(name, shape, seed))
            self.weights[name] = value * math.prod(gain for end, gain in (gains or {}).items() if name.endswith(end))

    def spread(self, name: str, value: Tensor) -> Tensor:
        """Standard normal numbers as a weight has them: a norm's around one."""
        return 0.2 * value if value.ndim > 1 else 0.3 * value + float(name.endswith("weight"))

    @property
    def provenance(self) -> str:
        """The file of the family."""
        return type(self).__module__.replace(".", "/") + ".py"

    @property
    def parameters(self) -> int:
        """Every number of the checkpoint but its buffers."""
        return sum(value.numel() for value in self.weights.values())

    def save(self, folder: Path) -> None:
        """The config and the weights under their official names."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config), "utf-8")
        save_file({**self.weights, **self.buffers}, folder / "model.safetensors", {"format": "pt"})

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None) -> Outputs:
        """Logits of every row."""
        assert token_type_ids is None
        return {"logits": torch.stack([self.row(row) for row in ids]).numpy()}

    def in_steps(self, ids: Sequence[int], sizes: Sequence[int]) -> NDArray[np.float32]:
        """Logits of one row; without a cache, how it is cut makes no difference."""
        assert sum(sizes) == len(ids)
        logits: NDArray[np.float32] = self.row(ids).numpy()
        return logits

    @abstractmethod
    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""

    def linear(self, name: str, x: Tensor) -> Tensor:
        """x Wᵀ, and the bias where the checkpoint has one."""
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", torch.zeros(()))

    def rms_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        """x / sqrt(mean(x²) + eps) · weight."""
        return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + eps) * self.weights[f"{name}.weight"]

    def layer_norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        """The RMS norm of x less its mean, and a bias."""
        return self.rms_norm(name, x - x.mean(dim=-1, keepdim=True), eps) + self.weights[f"{name}.bias"]


def silu(x: Tensor) -> Tensor:
    """x · sigmoid(x)."""
    return x * torch.sigmoid(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh form of the GELU (Hendrycks & Gimpel 2016)."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def heads_of(x: Tensor, heads: int) -> Tensor:
    """[seq, heads · d] → [heads, seq, d]."""
    length, width = x.shape
    return x.reshape(length, heads, width // heads).transpose(0, 1)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, *, causal: bool = True) -> Tensor:
    """Softmax attention of heads [heads, seq, d], each key head serving its share → [seq, heads · d].

    `bias` [heads, seq, seq] is added to the scaled scores.
    """
    heads, length, size = q.shape
    mixed = []
    for head in range(heads):
        served = head // (heads // k.shape[0])
        scores = q[head] @ k[served].T / math.sqrt(size)
        if bias is not None:
            scores = scores + bias[head]
        if causal:
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -math.inf)
        mixed.append(scores.softmax(dim=-1) @ v[served])
    return torch.cat(mixed, dim=-1)


def turns(length: int, size: int, base: float, stretch: float = 1.0) -> Tensor:
    """The rotation of each pair i at each position t as a complex number: angle t / stretch · base^(−2i/size)."""
    speeds = torch.tensor([base ** (-2 * i / size) for i in range(size // 2)])
    return torch.polar(torch.ones(length, size // 2), torch.arange(length)[:, None] / stretch * speeds)


def rotate_halves(x: Tensor, turn: Tensor) -> Tensor:
    """Turns the pairs (x[i], x[i + r/2]) of the first r dims; the others pass."""
    half = turn.shape[-1]
    pairs = torch.complex(x[..., :half], x[..., half : 2 * half]) * turn
    return torch.cat((pairs.real, pairs.imag, x[..., 2 * half :]), dim=-1)


def rotate_neighbours(x: Tensor, turn: Tensor) -> Tensor:
    """Turns the pairs (x[2i], x[2i + 1]) of the first r dims; the others pass."""
    half = turn.shape[-1]
    pairs = torch.complex(x[..., 0 : 2 * half : 2], x[..., 1 : 2 * half : 2]) * turn
    return torch.cat((torch.view_as_real(pairs).flatten(-2), x[..., 2 * half :]), dim=-1)
