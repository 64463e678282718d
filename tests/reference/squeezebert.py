"""SqueezeBERT: transformers' classes, with and without numbers so small that the eps of the norms of layers shows."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import SqueezeBertConfig
from transformers.models.squeezebert.modeling_squeezebert import SqueezeBertLayerNorm

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES

TINY: dict[str, float] = {
    "embeddings.LayerNorm.weight": 1e-6,
    "embeddings.LayerNorm.bias": 1e-6,
    "query.weight": 1e6,
    "key.weight": 1e6,
    "value.bias": 1e-6,
    "post_attention.conv1d.bias": 1e-6,
    "layernorm.weight": 1e-6,
    "layernorm.bias": 1e-6,
    "intermediate.conv1d.weight": 1e6,
    "output.conv1d.weight": 1e-6,
    "output.conv1d.bias": 1e-6,
    "layers.2.output.layernorm.weight": 1.0,
    "layers.2.output.layernorm.bias": 1.0,
}
GROUPS = {"q_groups": 2, "k_groups": 3, "v_groups": 4, "post_attention_groups": 5, "output_groups": 2}


def squeezebert(class_name: str, seed: int, eps: float | None = 1e-1, **changes: Any) -> FromTransformers:
    """A tiny SqueezeBERT of one of the classes, its layers with an eps that its config cannot state, or their own."""

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        return config if eps is None else config | {"inner_layer_norm_eps": eps}

    config = SqueezeBertConfig(**SIZES | {"embedding_size": 60} | changes)
    outside = ["pooler"] if "Masked" in class_name else []
    gains = TINY if eps is None else {}
    reference = make(class_name, config, seed, attention="eager", gains=gains, outside=outside, respell=respell)
    for module in reference.model.modules():
        if isinstance(module, SqueezeBertLayerNorm) and eps is not None:
            module.eps = eps
    return reference


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(squeezebert, "SqueezeBertForMaskedLM", 1, **GROUPS)),
    Encoder("model-tiny-numbers", partial(squeezebert, "SqueezeBertModel", 2, eps=None, hidden_act="relu")),
    Encoder("classes", partial(squeezebert, "SqueezeBertForSequenceClassification", 3, num_labels=3)),
)
