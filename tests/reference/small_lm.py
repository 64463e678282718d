"""The small LM, from its formulas: pre-norm RMSNorm, adjacent-pair rotary positions, SwiGLU, a head of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand


class SmallLm(ByHand):
    """float32, one row at a time, no cache."""

    def __init__(self, seed: int, *, vocab: int, width: int, layers: int, heads: int, hidden: int) -> None:
        self.layers, self.heads, self.theta, self.eps, self.context = layers, heads, 120.0, 1e-1, 50
        config = {
            "vocab_size": vocab,
            "context_length": self.context,
            "d_model": width,
            "num_layers": layers,
            "num_heads": heads,
            "d_ff": hidden,
            "rope_theta": self.theta,
            "eps": self.eps,
        }
        shapes: dict[str, tuple[int, ...]] = {"embedding.W": (vocab, width)}
        for n in range(layers):
            shapes |= {f"layers.{n}.multi_head_attn.{part}_proj.W": (width, width) for part in "QKVO"}
            shapes |= {f"layers.{n}.rms_norm{i}.g": (width,) for i in (1, 2)}
            shapes |= {f"layers.{n}.swiglu.{w}.W": (hidden, width) for w in ("w1", "w3")}
            shapes[f"layers.{n}.swiglu.w2.W"] = (width, hidden)
        shapes |= {"rms_norm.g": (width,), "ln_out.W": (vocab, width)}
        super().__init__(config, shapes, seed)

    def spread(self, name: str, value: Tensor) -> Tensor:
        """Standard normal numbers as a weight has them; each vector is a norm's."""
        return 0.3 * value + 1.0 if value.ndim == 1 else (0.3 if name == "embedding.W" else 0.2) * value

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        x = self.weights["embedding.W"][list(ids)]
        for n in range(self.layers):
            x = x + self.attention(n, self.norm(f"layers.{n}.rms_norm1", x))
            x = x + self.swiglu(n, self.norm(f"layers.{n}.rms_norm2", x))
        return self.project("ln_out", self.norm("rms_norm", x))

    def project(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.W"].T

    def norm(self, name: str, x: Tensor) -> Tensor:
        root = torch.sqrt((x * x).mean(dim=-1, keepdim=True) + self.eps)
        return x / root * self.weights[f"{name}.g"]

    def swiglu(self, n: int, x: Tensor) -> Tensor:
        gate = self.project(f"layers.{n}.swiglu.w1", x)
        return self.project(
            f"layers.{n}.swiglu.w2", gate * torch.sigmoid(gate) * self.project(f"layers.{n}.swiglu.w3", x)
        )

    def attention(self, n: int, x: Tensor) -> Tensor:
        length, width = x.shape
        size = width // self.heads
        q, k, v = (self.project(f"layers.{n}.multi_head_attn.{part}_proj", x) for part in "QKV")
        heads = []
        for h in range(self.heads):
            columns = slice(h * size, (h + 1) * size)
            scores = self.rotate(q[:, columns]) @ self.rotate(k[:, columns]).T / math.sqrt(size)
            future = torch.ones(length, length).triu(1).bool()
            heads.append(scores.masked_fill(future, -math.inf).softmax(dim=-1) @ v[:, columns])
        return self.project(f"layers.{n}.multi_head_attn.O_proj", torch.cat(heads, dim=-1))

    def rotate(self, x: Tensor) -> Tensor:
        """Turns each pair (x[2i], x[2i + 1]) at position t by t · theta^(−2i/d), as a complex number."""
        length, size = x.shape
        speeds = torch.tensor([self.theta ** (-2 * i / size) for i in range(size // 2)])
        turns = torch.polar(torch.ones(length, size // 2), torch.arange(length)[:, None] * speeds)
        pairs = torch.view_as_complex(x.reshape(length, size // 2, 2).contiguous())
        return torch.view_as_real(pairs * turns).reshape(length, size)


CASES = (
    Case("tiny", partial(SmallLm, 1, vocab=151, width=60, layers=3, heads=6, hidden=92), spec="small-lm"),
    Case("one-layer", partial(SmallLm, 2, vocab=97, width=56, layers=1, heads=7, hidden=60), spec="small-lm"),
)
