"""NeoBERT (Le Breton et al. 2025), from its formulas: pre-RMSNorm, rotary pairs of neighbors, SwiGLU of two thirds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import attend, heads_of, rotate_neighbours, silu, turns
from tests.reference.encoder_by_hand import EncoderByHand

# A third of twice the published width, 107, is rounded up to a multiple of 8.
WIDTH, PUBLISHED, INNER, VOCAB, LABELS, LAYERS, HEADS, SIZE, EPS = 60, 161, 112, 151, 3, 3, 6, 10, 1e-1


class NeoBert(EncoderByHand):
    """A tiny model of a class."""

    def __init__(self, seed: int, class_name: str) -> None:
        self.class_name = class_name
        config = {
            "architectures": [class_name],
            "classifier_init_range": 0.02,
            "decoder_init_range": 0.02,
            "dim_head": SIZE,
            "embedding_init_range": 0.02,
            "hidden_size": WIDTH,
            "intermediate_size": PUBLISHED,
            "kwargs": {"trust_remote_code": True},
            "max_length": 64,
            "model_type": "neobert",
            "norm_eps": EPS,
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "pretrained_model_name_or_path": "google-bert/bert-base-uncased",
            "trust_remote_code": True,
            "vocab_size": VOCAB,
        }
        shapes: dict[str, tuple[int, ...]] = {"model.encoder.weight": (VOCAB, WIDTH)}
        for n in range(LAYERS):
            layer = f"model.transformer_encoder.{n}."
            shapes |= {f"{layer}{norm}.weight": (WIDTH,) for norm in ("attention_norm", "ffn_norm")}
            shapes |= {f"{layer}qkv.weight": (3 * WIDTH, WIDTH), f"{layer}wo.weight": (WIDTH, WIDTH)}
            shapes |= {f"{layer}ffn.w12.weight": (2 * INNER, WIDTH), f"{layer}ffn.w3.weight": (WIDTH, INNER)}
        shapes["model.layer_norm.weight"] = (WIDTH,)
        if class_name == "NeoBERTLMHead":
            shapes |= {"decoder.weight": (VOCAB, WIDTH), "decoder.bias": (VOCAB,)}
        if class_name == "NeoBERTForSequenceClassification":
            config["num_labels"] = LABELS
            shapes |= {"dense.weight": (WIDTH, WIDTH), "dense.bias": (WIDTH,)}
            shapes |= {"classifier.weight": (LABELS, WIDTH), "classifier.bias": (LABELS,)}
        super().__init__(config, shapes, seed)

    def states(self, ids: Sequence[int], types: Sequence[int]) -> Tensor:
        """Pre-norm layers; each head has its queries, keys and values in a row."""
        assert not any(types)
        x = self.weights["model.encoder.weight"][list(ids)]
        turn = turns(len(ids), SIZE, 10000.0)
        for n in range(LAYERS):
            layer = f"model.transformer_encoder.{n}."
            y = self.linear(f"{layer}qkv", self.rms_norm(f"{layer}attention_norm", x, EPS))
            q, k, v = heads_of(y, HEADS).split(SIZE, dim=-1)
            q, k = rotate_neighbours(q, turn), rotate_neighbours(k, turn)
            x = x + self.linear(f"{layer}wo", attend(q, k, v, causal=False))
            y = self.linear(f"{layer}ffn.w12", self.rms_norm(f"{layer}ffn_norm", x, EPS))
            gate, up = y.split(INNER, dim=-1)
            x = x + self.linear(f"{layer}ffn.w3", silu(gate) * up)
        return self.rms_norm("model.layer_norm", x, EPS)

    def heads(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of masked tokens, or classes of the first token's state."""
        if self.class_name == "NeoBERTLMHead":
            return {"logits": self.linear("decoder", x)}
        if self.class_name == "NeoBERTForSequenceClassification":
            return {"classes": self.linear("classifier", torch.tanh(self.linear("dense", x[0])))}
        return {}


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(NeoBert, 1, "NeoBERTLMHead")),
    Encoder("model", partial(NeoBert, 2, "NeoBERT")),
    Encoder("classes", partial(NeoBert, 3, "NeoBERTForSequenceClassification")),
)
