"""BERT, T5, mT5, Marian, and RWKV in the hub's form."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.checkpoints.catalog.references import Make, by_hand, hub
from tests.checkpoints.checkpoint import Checkpoint
from tests.checkpoints.published import Config
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import T5_PIECES, byte_level_json, sentencepieces, translation, unigram_json, words, world
from tests.families.case import Reference
from tests.reference.answering import Answering, with_logits_bias
from tests.reference.bert import first_names
from tests.reference.from_transformers import FromTransformers
from tests.reference.rwkv5 import Rwkv5, hub_name
from tests.reference.rwkv6 import Rwkv6
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
TURNS = "User: hello fox 12345\n\nAssistant: lazy dog\n\nUser: 你好 jumps\n\nAssistant:"


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
    Checkpoint(
        name="RWKV-4 169M Pile",
        source="RWKV/rwkv-4-169m-pile",
        spec="rwkv4",
        reference=hub("RwkvForCausalLM", cached=False, attention="eager", table=0.1),
        stored=Stored(BIN, F32),
        vocabulary=byte_level_json(nfc=True),
        roles={"bos_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>"},
        chat=TURNS,
    ),
    Checkpoint(
        name="RWKV-5 World 1.5B",
        source="RWKV/rwkv-5-world-1b5",
        spec="rwkv5",
        reference=by_hand(Rwkv5, hub=True),
        stored=Stored(BIN),
        vocabulary=world(),
        chat=TURNS,
    ),
    Checkpoint(
        name="RWKV-6 World 1.6B",
        source="RWKV/rwkv-6-world-1b6",
        spec="rwkv6",
        reference=by_hand(Rwkv6, rank=32, decay_rank=64),
        stored=Stored(BIN, rename=hub_name),
        vocabulary=world(),
        chat=TURNS,
    ),
)
