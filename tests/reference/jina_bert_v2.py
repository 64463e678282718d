"""Jina Embeddings 2 (Günther et al. 2023, section 3.1), from its formulas: BERT, ALiBi on both sides, a gated MLP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.baichuan import slopes
from tests.reference.by_hand import attend, heads_of
from tests.reference.encoder_by_hand import EncoderByHand, gelu

WIDTH, INNER, VOCAB, LABELS, LAYERS, HEADS, EPS = 60, 92, 151, 3, 3, 12, 1e-1


class JinaBert(EncoderByHand):
    """A tiny model of a class; with `emb_pooler`, hidden states and their mean."""

    def __init__(self, seed: int, class_name: str, **more: Any) -> None:
        self.more, self.class_name = more, class_name
        config = {
            "_name_or_path": "jinaai/jina-bert-implementation",
            "architectures": [class_name],
            "attention_probs_dropout_prob": 0.0,
            "feed_forward_type": "geglu",
            "hidden_act": "gelu",
            "hidden_size": WIDTH,
            "intermediate_size": INNER,
            "layer_norm_eps": EPS,
            "max_position_embeddings": 64,
            "model_max_length": 64,
            "model_type": "bert",
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "position_embedding_type": "alibi",
            "type_vocab_size": 2,
            "vocab_size": VOCAB,
        }
        linears = {}
        for n in range(LAYERS):
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                linears[f"encoder.layer.{n}.attention.{name}"] = (WIDTH, WIDTH)
            linears[f"encoder.layer.{n}.mlp.wo"] = (WIDTH, INNER)
        norms = ["embeddings.LayerNorm"]
        for n in range(LAYERS):
            norms += [f"encoder.layer.{n}.{name}" for name in ("attention.output.LayerNorm", "mlp.layernorm")]
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (VOCAB, WIDTH),
            "embeddings.token_type_embeddings.weight": (2, WIDTH),
        }
        shapes |= {f"encoder.layer.{n}.mlp.gated_layers.weight": (2 * INNER, WIDTH) for n in range(LAYERS)}
        if class_name == "JinaBertForMaskedLM" and "emb_pooler" not in more:
            linears["cls.predictions.transform.dense"] = (WIDTH, WIDTH)
            norms.append("cls.predictions.transform.LayerNorm")
            shapes["cls.predictions.bias"] = (VOCAB,)
        if class_name == "JinaBertForSequenceClassification":
            linears |= {"pooler.dense": (WIDTH, WIDTH), "classifier": (LABELS, WIDTH)}
            config["num_labels"] = LABELS
        for name, shape in linears.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        shapes |= {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}
        super().__init__(config | more, shapes, seed)

    def states(self, ids: Sequence[int], types: Sequence[int]) -> Tensor:
        """Embeddings of tokens and types, and post-norm layers."""
        tokens, kinds = (self.weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "token_type"))
        x = self.layer_norm("embeddings.LayerNorm", tokens[list(ids)] + kinds[list(types)], EPS)
        positions = torch.arange(len(ids))
        bias = -torch.tensor(slopes(HEADS))[:, None, None] * (positions[:, None] - positions).abs()
        for n in range(LAYERS):
            layer = f"encoder.layer.{n}."
            names = (f"{layer}attention.self.{name}" for name in ("query", "key", "value"))
            q, k, v = (heads_of(self.linear(name, x), HEADS) for name in names)
            mixed = self.linear(f"{layer}attention.output.dense", attend(q, k, v, bias, causal=False))
            x = self.layer_norm(f"{layer}attention.output.LayerNorm", x + mixed, EPS)
            gate, up = self.linear(f"{layer}mlp.gated_layers", x).split(INNER, dim=-1)
            gate = torch.relu(gate) if self.config["feed_forward_type"] == "reglu" else gelu(gate)
            x = self.layer_norm(f"{layer}mlp.layernorm", x + self.linear(f"{layer}mlp.wo", gate * up), EPS)
        return x

    def heads(self, x: Tensor) -> dict[str, Tensor]:
        """Those of BERT."""
        if "emb_pooler" in self.more:
            return {"pooled": x.mean(dim=0)}
        if self.class_name == "JinaBertForSequenceClassification":
            return {"classes": self.linear("classifier", torch.tanh(self.linear("pooler.dense", x[0])))}
        y = gelu(self.linear("cls.predictions.transform.dense", x))
        y = self.layer_norm("cls.predictions.transform.LayerNorm", y, EPS)
        table = self.weights["embeddings.word_embeddings.weight"]
        return {"logits": y @ table.T + self.weights["cls.predictions.bias"]}


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("embeddings", partial(JinaBert, 1, "JinaBertForMaskedLM", emb_pooler="mean")),
    Encoder("masked-lm", partial(JinaBert, 2, "JinaBertForMaskedLM", feed_forward_type="reglu")),
    Encoder("classes", partial(JinaBert, 3, "JinaBertForSequenceClassification")),
)
