"""BERT, T5, mT5 and Marian."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from archc.proof.case import Reference
from archc.proof.from_transformers import FromTransformers
from tests.checkpoints.catalog.references import Make, hub
from tests.checkpoints.checkpoint import Checkpoint
from tests.checkpoints.published import Config
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import T5_PIECES, sentencepieces, translation, unigram_json, words
from tests.reference.answering import Answering, with_logits_bias
from tests.reference.bert import first_names
from tests.reference.t5 import untie

F32 = torch.float32
BIN = "pytorch_model.bin"
T5_ROLES = {"decoder_start_token_id": "<pad>", "eos_token_id": "</s>", "pad_token_id": "<pad>"}
MARIAN_ROLES = {
    "bad_words_ids": [["<pad>"]],
    "bos_token_id": "</s>",
    "decoder_start_token_id": "<pad>",
    "eos_token_id": "</s>",
    "pad_token_id": "<pad>",
}


def t5(class_name: str, tie: bool) -> Make:
    """A T5 class; `tie` shares the head with the token table."""
    prepare = {} if tie else {"prepare": untie}
    gains = {"q.weight": 8**-0.5}
    return hub(class_name, kind=Answering, attention="eager", gains=gains, **prepare)


def marian(config: Config) -> Reference:
    """A Marian with its sinusoids, and numbers in the bias of its logits."""
    tables: dict[str, Tensor] = {}

    def keep(model: PreTrainedModel) -> None:
        tables.update({n: p.detach().clone() for n, p in model.named_parameters() if "embed_positions" in n})

    made = hub("MarianMTModel", kind=Answering, prepare=keep)(config)
    assert isinstance(made, FromTransformers)
    for name, table in tables.items():
        made.model.get_parameter(name).data.copy_(table)
    return with_logits_bias(made, 1, 0.3)


def bert(source: str, lower: bool, *, old: bool) -> Checkpoint:
    """A BERT; the norms of the `old` files have the names gamma and beta."""
    return Checkpoint(
        name=source.partition("/")[2].replace("bert-base", "BERT base").replace("-", " ").replace("base ", "base ", 1),
        source=source,
        spec="bert",
        reference=hub("BertForPreTraining", weights=first_names if old else None),
        stored=Stored(dtype=F32),
        vocabulary=words(lower),
        files={"tokenizer_config.json": {"do_lower_case": lower, "model_max_length": 512}},
        begin=("[CLS]",),
        end=("[SEP]",),
        topology="encoder",
    )


CHECKPOINTS = (
    bert("google-bert/bert-base-uncased", lower=True, old=True),
    bert("google-bert/bert-base-chinese", lower=False, old=False),
    bert("google-bert/bert-base-multilingual-cased", lower=False, old=False),
    Checkpoint(
        name="T5 small",
        source="google-t5/t5-small",
        spec="t5",
        reference=t5("T5ForConditionalGeneration", tie=True),
        stored=Stored(dtype=F32),
        vocabulary=unigram_json(extra=4),
        roles=T5_ROLES,
        end=("</s>",),
        topology="encoder-decoder",
    ),
    Checkpoint(
        name="FLAN-T5 base",
        source="google/flan-t5-base",
        spec="t5",
        reference=t5("T5ForConditionalGeneration", tie=False),
        stored=Stored(dtype=F32),
        vocabulary=unigram_json(extra=4),
        roles=T5_ROLES,
        end=("</s>",),
        topology="encoder-decoder",
    ),
    Checkpoint(
        name="T5 v1.1 base",
        source="google/flan-t5-base",
        spec="t5",
        reference=t5("T5ForConditionalGeneration", tie=False),
        stored=Stored(BIN, F32),
        vocabulary=sentencepieces("spiece.model", **T5_PIECES),
        roles=T5_ROLES,
        end=("</s>",),
        topology="encoder-decoder",
    ),
    Checkpoint(
        name="mT5 small",
        source="google/mt5-small",
        spec="mt5",
        reference=t5("MT5ForConditionalGeneration", tie=False),
        stored=Stored(BIN, F32),
        vocabulary=sentencepieces("spiece.model", **T5_PIECES | {"byte_fallback": True}),
        roles=T5_ROLES,
        end=("</s>",),
        topology="encoder-decoder",
    ),
    *(
        Checkpoint(
            name=source.partition("/")[2],
            source=source,
            spec="marian",
            reference=marian,
            stored=Stored(file, F32),
            vocabulary=translation(),
            roles=MARIAN_ROLES,
            end=("</s>",),
            topology="encoder-decoder",
        )
        for source, file in (("Helsinki-NLP/opus-mt-en-mg", BIN), ("Helsinki-NLP/opus-mt-en-de", "model.safetensors"))
    ),
)
