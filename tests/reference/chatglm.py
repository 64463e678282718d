"""ChatGLM-6B, from its formulas (Du et al. 2022, GLM): two-dimensional rotary positions, prompts read both ways, and a
residual that carries the normed input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, gelu_tanh

MASK, GMASK, BOS = 140, 141, 144
EPS, THETA = 0.4, 10000.0
CARRIED = math.sqrt(2 * 28)


class ChatGlm(ByHand):
    """float32, one row at a time, no cache."""

    def __init__(
        self,
        seed: int,
        *,
        vocab: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        mask: int = MASK,
        gmask: int = GMASK,
        bos: int = BOS,
    ) -> None:
        self.layers, self.heads, self.mask, self.gmask, self.bos = layers, heads, mask, gmask, bos
        config = {
            "model_type": "chatglm",
            "architectures": ["ChatGLMModel"],
            "vocab_size": vocab,
            "hidden_size": width,
            "num_layers": layers,
            "num_attention_heads": heads,
            "inner_hidden_size": hidden,
            "max_sequence_length": 64,
            "layernorm_epsilon": EPS,
            "position_encoding_2d": True,
            "mask_token_id": mask,
            "gmask_token_id": gmask,
            "bos_token_id": bos,
            "eos_token_id": 145,
            "pad_token_id": 3,
            "use_cache": True,
            "torch_dtype": "float16",
        }
        shapes: dict[str, tuple[int, ...]] = {"transformer.word_embeddings.weight": (vocab, width)}
        for n in range(layers):
            matrices = {
                "attention.query_key_value": (3 * width, width),
                "attention.dense": (width, width),
                "mlp.dense_h_to_4h": (hidden, width),
                "mlp.dense_4h_to_h": (width, hidden),
            }
            for name, shape in matrices.items():
                shapes[f"transformer.layers.{n}.{name}.weight"] = shape
                shapes[f"transformer.layers.{n}.{name}.bias"] = shape[:1]
            for name in ("input_layernorm", "post_attention_layernorm"):
                shapes |= {f"transformer.layers.{n}.{name}.{part}": (width,) for part in ("weight", "bias")}
        shapes |= {f"transformer.final_layernorm.{part}": (width,) for part in ("weight", "bias")}
        shapes["lm_head.weight"] = (vocab, width)
        super().__init__(config, shapes, seed)
        names = (f"transformer.layers.{n}.attention.rotary_emb.inv_freq" for n in range(layers))
        self.buffers = {name: self.speeds() for name in names}  # old files carry them

    def spread(self, name: str, value: Tensor) -> Tensor:
        """Standard normal numbers as a weight has them: a norm's around one."""
        return (0.5 if value.ndim > 1 else 0.2) * value + float(name.endswith("layernorm.weight"))

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        prompt = list(ids).index(self.bos)
        blank = list(ids)[:prompt].index(self.gmask if self.gmask in ids[:prompt] else self.mask)
        text = [t if t < prompt else blank for t in range(len(ids))]
        block = [0 if t < prompt else t - prompt + 1 for t in range(len(ids))]
        seen = torch.tensor([[j < prompt or j <= i for j in range(len(ids))] for i in range(len(ids))])
        x = self.weights["transformer.word_embeddings.weight"][list(ids)]
        for n in range(self.layers):
            a = self.norm(f"layers.{n}.input_layernorm", x)
            y = CARRIED * a + self.attention(n, a, text, block, seen)
            m = self.norm(f"layers.{n}.post_attention_layernorm", y)
            hidden = self.affine(f"layers.{n}.mlp.dense_h_to_4h", m)
            x = CARRIED * m + self.affine(f"layers.{n}.mlp.dense_4h_to_h", gelu_tanh(hidden))
        return self.norm("final_layernorm", x) @ self.weights["lm_head.weight"].T

    def affine(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"transformer.{name}.weight"].T + self.weights[f"transformer.{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.weights[f"transformer.{name}.{part}"] for part in ("weight", "bias"))
        return layer_norm(x, x.shape[-1:], weight, bias, EPS)

    def attention(self, n: int, x: Tensor, text: list[int], block: list[int], seen: Tensor) -> Tensor:
        length, width = x.shape
        size = width // self.heads
        fused = self.affine(f"layers.{n}.attention.query_key_value", x).reshape(length, self.heads, 3 * size)
        heads = []
        for h in range(self.heads):
            q, k, v = fused[:, h].split(size, dim=-1)
            q, k = (
                torch.cat((self.turn(part[:, : size // 2], text), self.turn(part[:, size // 2 :], block)), -1)
                for part in (q, k)
            )
            scores = (q @ k.T / math.sqrt(size)).masked_fill(~seen, -1e4)
            heads.append(scores.softmax(dim=-1) @ v)
        return self.affine(f"layers.{n}.attention.dense", torch.cat(heads, dim=-1))

    def speeds(self) -> Tensor:
        """Rotation speeds of half a head, as the published code rounds them."""
        half = self.config["hidden_size"] // self.heads // 2  # type: ignore[operator]
        return torch.tensor([THETA ** (-2 * i / half) for i in range(half // 2)]).half().float()

    def turn(self, x: Tensor, places: list[int]) -> Tensor:
        """Turns dim i with dim i + r/2 at place t by t times its speed."""
        angles = torch.tensor(places, dtype=torch.float32)[:, None] * self.speeds()
        first, second = x.chunk(2, dim=-1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


SIZES = {"vocab": 151, "width": 48, "layers": 2, "heads": 6, "hidden": 92}
CASES = (
    Case("gmask", partial(ChatGlm, 1, **SIZES), lead=(GMASK, 5, BOS), length=47, spec="chatglm"),
    Case("mask", partial(ChatGlm, 2, **SIZES), lead=(5, MASK, BOS), length=47, spec="chatglm"),
)
