"""CodeShell (Xie et al. 2024), from its formulas: GPT-2's layer with grouped queries and rotary positions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, attend, gelu_tanh, heads_of, rotate_halves, turns


class CodeShell(ByHand):
    """A tiny model; `tied` files contain the table as the head's weight alone."""

    def __init__(self, seed: int, *, tied: bool = True, groups: int = 2, vocab: int = 151) -> None:
        width, inner, self.heads, self.groups, self.layers = 60, 92, 6, groups, 3
        self.size, self.eps, self.tied = width // self.heads, 1e-1, tied
        config = {
            "model_type": "codeshell",
            "architectures": ["CodeShellForCausalLM"],
            "activation_function": "gelu_pytorch_tanh",
            "vocab_size": vocab,
            "n_embd": width,
            "n_head": self.heads,
            "n_inner": inner,
            "n_layer": self.layers,
            "n_positions": 64,
            "num_query_groups": groups,
            "group_query_attention": True,
            "layer_norm_epsilon": self.eps,
            "position_embedding_type": "rope",
            "rope_scaling": None,
            "scale_attn_weights": True,
            "attention_softmax_in_fp32": True,
            "tie_word_embeddings": tied,
        }
        shapes: dict[str, tuple[int, ...]] = {}
        for n in range(self.layers):
            layer = f"transformer.h.{n}."
            for name, rows, columns in (
                ("attn.c_attn", width + 2 * groups * self.size, width),
                ("attn.c_proj", width, width),
                ("mlp.c_fc", inner, width),
                ("mlp.c_proj", width, inner),
            ):
                shapes |= {f"{layer}{name}.weight": (rows, columns), f"{layer}{name}.bias": (rows,)}
            shapes |= {f"{layer}{norm}.{part}": (width,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
        shapes |= {f"transformer.ln_f.{part}": (width,) for part in ("weight", "bias")}
        shapes["lm_head.weight"] = (vocab, width)
        if not tied:
            shapes["transformer.wte.weight"] = (vocab, width)
        super().__init__(config, shapes, seed)

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        head = self.weights["lm_head.weight"]
        x = (head if self.tied else self.weights["transformer.wte.weight"])[list(ids)]
        for n in range(self.layers):
            layer = f"transformer.h.{n}."
            x = x + self.attention(f"{layer}attn", self.layer_norm(f"{layer}ln_1", x, self.eps))
            y = self.linear(f"{layer}mlp.c_fc", self.layer_norm(f"{layer}ln_2", x, self.eps))
            x = x + self.linear(f"{layer}mlp.c_proj", gelu_tanh(y))
        return self.layer_norm("transformer.ln_f", x, self.eps) @ head.T

    def attention(self, name: str, x: Tensor) -> Tensor:
        keys = self.groups * self.size
        q, k, v = self.linear(f"{name}.c_attn", x).split([self.heads * self.size, keys, keys], dim=-1)
        turn = turns(len(x), self.size, 10000.0)
        q, k = rotate_halves(heads_of(q, self.heads), turn), rotate_halves(heads_of(k, self.groups), turn)
        return self.linear(f"{name}.c_proj", attend(q, k, heads_of(v, self.groups)))


CASES = (
    Case("tied", partial(CodeShell, 1)),
    Case("untied", partial(CodeShell, 2, tied=False, groups=3)),
)
