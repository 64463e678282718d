"""ChatGLM2 and ChatGLM3 (Zeng et al. 2022; Zeng et al. 2024, GLM-4), from their formulas.

A pre-norm decoder with RMS norms and SwiGLU; queries, keys and values are one matrix with a bias, all queries first;
neighboring dims rotate together, in the first half of each head. `rope_ratio` is a factor on the base, or in ChatGLM2
what positions are divided by.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, attend, heads_of, rotate_neighbours, silu, turns


class ChatGlm2(ByHand):
    """ChatGLM2, or with `stretch_base` ChatGLM3."""

    def __init__(
        self,
        seed: int,
        *,
        ratio: float | None = None,
        stretch_base: bool = False,
        groups: int = 2,
        qkv_bias: bool = True,
        every_bias: bool = False,
        architecture: str = "ChatGLMModel",
        buffer: bool = True,
        vocab: int = 151,
        **more: Any,
    ) -> None:
        width, hidden, layers = 60, 92, 3
        self.layers, self.heads, self.groups, self.size, self.eps = layers, 6, groups, 12, 1e-2
        self.base = 10000.0 * (ratio or 1.0) if stretch_base else 10000.0
        self.stretch = 1.0 if stretch_base else ratio or 1.0
        config = (
            {
                "model_type": "chatglm",
                "architectures": [architecture],
                "padded_vocab_size": vocab,
                "hidden_size": width,
                "ffn_hidden_size": hidden,
                "num_layers": layers,
                "num_attention_heads": self.heads,
                "kv_channels": self.size,
                "multi_query_attention": True,
                "multi_query_group_num": groups,
                "seq_length": 80,
                "layernorm_epsilon": self.eps,
                "rmsnorm": True,
                "post_layer_norm": True,
                "apply_residual_connection_post_layernorm": False,
                "original_rope": True,
                "add_qkv_bias": qkv_bias,
                "add_bias_linear": every_bias,
                "apply_query_key_layer_scaling": True,
                "attention_softmax_in_fp32": True,
                "bias_dropout_fusion": True,
                "fp32_residual_connection": False,
                "interleaved_qkv": False,
                "attention_dropout": 0.0,
                "hidden_dropout": 0.0,
                "pre_seq_len": None,
                "prefix_projection": False,
                "quantization_bit": 0,
                "tie_word_embeddings": False,
                "use_cache": True,
            }
            | ({"rope_ratio": ratio} if ratio is not None else {})
            | more
        )
        queries, keys = self.heads * self.size, groups * self.size
        linears = {}
        for n in range(layers):
            linears[f"{n}.self_attention.query_key_value"] = (queries + 2 * keys, width, qkv_bias or every_bias)
            linears[f"{n}.self_attention.dense"] = (width, queries, every_bias)
            linears[f"{n}.mlp.dense_h_to_4h"] = (2 * hidden, width, every_bias)
            linears[f"{n}.mlp.dense_4h_to_h"] = (width, hidden, every_bias)
        shapes: dict[str, tuple[int, ...]] = {"transformer.embedding.word_embeddings.weight": (vocab, width)}
        for name, (outputs, inputs, bias) in linears.items():
            shapes[f"transformer.encoder.layers.{name}.weight"] = (outputs, inputs)
            if bias:
                shapes[f"transformer.encoder.layers.{name}.bias"] = (outputs,)
        norms = [
            f"layers.{n}.{part}" for n in range(layers) for part in ("input_layernorm", "post_attention_layernorm")
        ]
        shapes |= {f"transformer.encoder.{norm}.weight": (width,) for norm in (*norms, "final_layernorm")}
        shapes["transformer.output_layer.weight"] = (vocab, width)
        buffers = {"transformer.rotary_pos_emb.inv_freq": torch.ones(self.size // 4)} if buffer else {}
        super().__init__(config, shapes, seed, buffers=buffers)

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        x = self.weights["transformer.embedding.word_embeddings.weight"][list(ids)]
        for n in range(self.layers):
            layer = f"transformer.encoder.layers.{n}"
            x = x + self.attention(f"{layer}.self_attention", self.rms_norm(f"{layer}.input_layernorm", x, self.eps))
            y = self.rms_norm(f"{layer}.post_attention_layernorm", x, self.eps)
            gate, up = self.linear(f"{layer}.mlp.dense_h_to_4h", y).chunk(2, dim=-1)
            x = x + self.linear(f"{layer}.mlp.dense_4h_to_h", silu(gate) * up)
        return self.linear(
            "transformer.output_layer", self.rms_norm("transformer.encoder.final_layernorm", x, self.eps)
        )

    def attention(self, name: str, x: Tensor) -> Tensor:
        every = heads_of(self.linear(f"{name}.query_key_value", x), self.heads + 2 * self.groups)
        q, k, v = every.split([self.heads, self.groups, self.groups])
        turn = turns(len(x), self.size // 2, self.base, self.stretch)
        return self.linear(f"{name}.dense", attend(rotate_neighbours(q, turn), rotate_neighbours(k, turn), v))


CASES = (
    Case("6b", partial(ChatGlm2, 1), spec="chatglm2"),
    Case("32k", partial(ChatGlm2, 2, ratio=16, groups=3), length=31, spec="chatglm2"),
    Case("every-bias", partial(ChatGlm2, 3, qkv_bias=False, every_bias=True, buffer=False), spec="chatglm2"),
    Case("no-bias", partial(ChatGlm2, 4, qkv_bias=False, ratio=2.5), spec="chatglm2"),
)
