"""Qwen of the first generation (Bai et al. 2023, sections 2.3 and 2.4), from its formulas.

A pre-norm decoder with RMS norms, SwiGLU and biases on queries, keys and values. Past the trained length it has two
means: the rotary base grows with the length of the prompt and then stays (NTK-aware), and queries are scaled by the
logarithm of their position to the base of the trained length (LogN).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, attend, heads_of, rotate_halves, silu, turns

FIRST_REVISION = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "ffn_hidden_size",
    "max_position_embeddings": "n_positions",
}


class Qwen(ByHand):
    """`first` writes the config under the keys of the first revision."""

    def __init__(
        self,
        seed: int,
        *,
        trained: int = 40,
        ntk: bool = False,
        logn: bool = False,
        fraction: float = 1.0,
        no_bias: bool = True,
        tied: bool = False,
        first: bool = False,
        vocab: int = 151,
    ) -> None:
        width, hidden, layers = 60, 92, 3
        self.layers, self.heads, self.size, self.eps, self.base = layers, 6, 10, 1e-2, 200
        self.trained, self.ntk, self.logn, self.rotary, self.tied = trained, ntk, logn, int(10 * fraction), tied
        config: dict[str, Any] = {
            "model_type": "qwen",
            "architectures": ["QWenLMHeadModel"],
            "vocab_size": vocab,
            "hidden_size": width,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": self.heads,
            "kv_channels": self.size,
            "seq_length": trained,
            "max_position_embeddings": 80,
            "layer_norm_epsilon": self.eps,
            "rotary_emb_base": self.base,
            "rotary_pct": fraction,
            "no_bias": no_bias,
            "scale_attn_weights": True,
            "use_dynamic_ntk": ntk,
            "use_logn_attn": logn,
            "tie_word_embeddings": tied,
            "bf16": False,
            "fp16": False,
            "fp32": False,
            "use_flash_attn": "auto",
            "onnx_safe": None,
            "softmax_in_fp32": False,
            "use_cache_kernel": False,
            "use_cache_quantization": False,
            "attn_dropout_prob": 0.0,
            "emb_dropout_prob": 0.0,
            "tokenizer_class": "QWenTokenizer",
        }
        if first:
            config = {FIRST_REVISION.get(key, key): value for key, value in config.items()}
            config |= {"padded_vocab_size": vocab, "pos_emb": "rotary", "params_dtype": "torch.bfloat16"}
            config |= {"apply_residual_connection_post_layernorm": False, "bias_dropout_fusion": True}
        linears = {}
        for n in range(layers):
            linears[f"{n}.attn.c_attn"] = (3 * width, width, True)
            linears[f"{n}.attn.c_proj"] = (width, width, not no_bias)
            linears |= {f"{n}.mlp.{w}": (hidden, width, not no_bias) for w in ("w1", "w2")}
            linears[f"{n}.mlp.c_proj"] = (width, hidden, not no_bias)
        shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (vocab, width)}
        for name, (outputs, inputs, bias) in linears.items():
            shapes[f"transformer.h.{name}.weight"] = (outputs, inputs)
            if bias:
                shapes[f"transformer.h.{name}.bias"] = (outputs,)
        shapes |= {f"transformer.h.{n}.ln_{i}.weight": (width,) for n in range(layers) for i in (1, 2)}
        shapes["transformer.ln_f.weight"] = (width,)
        if not tied:
            shapes["lm_head.weight"] = (vocab, width)
        super().__init__(config, shapes, seed)

    def in_steps(self, ids: Sequence[int], sizes: Sequence[int]) -> NDArray[np.float32]:
        """Logits of one row, of which the first call is the prompt."""
        assert sum(sizes) == len(ids)
        logits: NDArray[np.float32] = self.row(ids, sizes[0]).numpy()
        return logits

    def row(self, ids: Sequence[int], prompt: int | None = None) -> Tensor:
        """Logits [seq, vocab] of one row of ids, of which so many are the prompt; by default all."""
        table = self.weights["transformer.wte.weight"]
        x, turn = table[list(ids)], self.turn(len(ids), prompt or len(ids))
        for n in range(self.layers):
            layer = f"transformer.h.{n}"
            x = x + self.attention(f"{layer}.attn", self.rms_norm(f"{layer}.ln_1", x, self.eps), turn)
            y = self.rms_norm(f"{layer}.ln_2", x, self.eps)
            x = x + self.linear(
                f"{layer}.mlp.c_proj", self.linear(f"{layer}.mlp.w1", y) * silu(self.linear(f"{layer}.mlp.w2", y))
            )
        x = self.rms_norm("transformer.ln_f", x, self.eps)
        return x @ (table if self.tied else self.weights["lm_head.weight"]).T

    def turn(self, length: int, prompt: int) -> Tensor:
        """Rotations over a base that is larger for prompts past the trained length, in steps of a factor of two."""
        alpha = 1.0
        if self.ntk:
            alpha = max(2.0 ** math.ceil(math.log2(prompt / self.trained) + 1) - 1, 1.0)
        return turns(length, self.rotary, self.base * alpha ** (self.rotary / (self.rotary - 2)))

    def attention(self, name: str, x: Tensor, turn: Tensor) -> Tensor:
        q, k, v = (heads_of(part, self.heads) for part in self.linear(f"{name}.c_attn", x).chunk(3, dim=-1))
        q, k = rotate_halves(q, turn), rotate_halves(k, turn)
        if self.logn:
            places = range(1, len(x) + 1)
            factors = [math.log(place) / math.log(self.trained) if place > self.trained else 1.0 for place in places]
            q = q * torch.tensor(factors)[:, None]
        return self.linear(f"{name}.c_proj", attend(q, k, v))


CASES = (
    Case("plain", partial(Qwen, 1)),
    Case("partial-rotary", partial(Qwen, 2, fraction=0.6, no_bias=False)),
    Case("logn", partial(Qwen, 3, logn=True, trained=5), length=29),
    Case("ntk", partial(Qwen, 4, ntk=True, trained=7), length=31, depends_on_calls=True),
    Case("ntk-logn", partial(Qwen, 5, ntk=True, logn=True, trained=9, first=True), length=31, depends_on_calls=True),
    Case("tied", partial(Qwen, 6, tied=True, logn=True, trained=8)),
)
