"""XLM and FlauBERT: transformers' classes, which are told that no token is padding."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import FlaubertConfig, XLMConfig

from archc.proof.case import Case, Ids, Outputs
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "emb_dim": 60,
    "n_layers": 3,
    "n_heads": 6,
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-1,
}


class WithoutPadding(FromTransformers):
    """A class that would take one token for padding, and counts as one that generates."""

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None) -> Outputs:
        """One call of the class, and of the class within."""
        assert token_type_ids is None
        tokens = torch.tensor(ids)
        with torch.no_grad():
            outputs = {"hidden_states": self.model.base_model(tokens, attention_mask=torch.ones_like(tokens))[0]}
            if self.model.base_model is not self.model:
                kind = "classes" if "Classification" in type(self.model).__name__ else "logits"
                outputs[kind] = self.model(tokens, attention_mask=torch.ones_like(tokens)).logits
        return {role: value.numpy() for role, value in outputs.items()}


def xlm(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny XLM or FlauBERT of one of the classes."""
    config = (XLMConfig if class_name.startswith("XLM") else FlaubertConfig)(**SIZES | changes)
    return make(class_name, config, seed, kind=WithoutPadding, attention="eager", outside=["lang_embeddings"])


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(xlm, "XLMWithLMHeadModel", 1, gelu_activation=False, n_langs=3)),
    Encoder("model", partial(xlm, "XLMModel", 2)),
    Encoder("classes", partial(xlm, "XLMForSequenceClassification", 3, num_labels=3)),
)
