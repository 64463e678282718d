"""RoBERTa-PreLayerNorm: transformers' classes."""

from __future__ import annotations

from functools import partial

from transformers import RobertaPreLayerNormConfig

from archc.proof.case import Case
from tests.reference.xlm_roberta_xl import prenorm

Encoder = partial(Case, topology="encoder")
tiny = partial(prenorm, config_class=RobertaPreLayerNormConfig)
CASES = (
    Encoder("masked-lm", partial(tiny, "RobertaPreLayerNormForMaskedLM", seed=1, hidden_act="relu")),
    Encoder("masked-lm-untied", partial(tiny, "RobertaPreLayerNormForMaskedLM", seed=2, tie_word_embeddings=False)),
    Encoder("model", partial(tiny, "RobertaPreLayerNormModel", seed=3, type_vocab_size=1, pad_token_id=3)),
)
