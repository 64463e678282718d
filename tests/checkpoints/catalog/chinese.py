"""Baichuan 1 and 2, InternLM 1 and 2, Skywork, Qwen of the first generation, Yi, Yuan 2.0."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from archc.archspec import load_spec
from tests.checkpoints import templates
from tests.checkpoints.catalog.references import Make, by_hand, hub, llama
from tests.checkpoints.checkpoint import MESSAGES, Checkpoint, ids_of
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import Text, bpe_json, ranks, sentencepieces
from tests.compiler.text.families import IDENTITY, QWEN, RESERVED
from tests.reference.baichuan import Baichuan
from tests.reference.internlm2 import renamed
from tests.reference.qwen import Qwen
from tests.reference.yi import first_names
from tests.reference.yuan2 import Yuan2

F16 = torch.float16
BIN = "pytorch_model.bin"
QUESTION, ANSWER, LAST = (message["content"] for message in MESSAGES)
ROLES = {"bos_token_id": "<s>", "eos_token_id": "</s>"}
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{index}|>" for index in range(205)))
CHATML = (
    "<|im_start|>user\nhello fox 12345<|im_end|>\n<|im_start|>assistant\nlazy dog<|im_end|>\n"
    "<|im_start|>user\n你好 jumps<|im_end|>\n<|im_start|>assistant\n"
)


def baichuan(architecture: str, **options: Any) -> Make:
    """A narrow Baichuan: its vocabulary's size is the published one, by which the spec is selected."""
    return by_hand(Baichuan, architecture=architecture, width=16, heads=4, layers=2, **options)


def turns_chat(text: Text) -> list[int]:
    """Tokens 195 and 196 before the turns of user and assistant."""
    question, answer, last = map(text.encode, (QUESTION, ANSWER, LAST))
    return [195, *question, 196, *answer, 195, *last, 196]


def internlm_chat(text: Text) -> list[int]:
    first = text.encode(f"<|User|>:{QUESTION}\n<|Bot|>:{ANSWER}")
    return [1, *first, text.special["<eoa>"], *text.encode(f"\n<|User|>:{LAST}\n<|Bot|>:")]


def qwen_chat(text: Text) -> list[int]:
    start, stop = text.special["<|im_start|>"], text.special["<|im_end|>"]
    ids = [start, *text.encode("system\nYou are a helpful assistant."), stop, *text.encode("\n")]
    for message in MESSAGES:
        ids += [start, *text.encode(f"{message['role']}\n{message['content']}"), stop, *text.encode("\n")]
    return [*ids, start, *text.encode("assistant\n")]


def yuan_chat(text: Text) -> list[int]:
    return [*text.encode("<n>".join((QUESTION, ANSWER, LAST))), text.special["<sep>"]]


BAICHUAN_CONFIG = {"tokenizer_config.json": {"tokenizer_class": "BaichuanTokenizer", "add_bos_token": False}}
TURNS = {"generation_config.json": {"user_token_id": 195, "assistant_token_id": 196, "repetition_penalty": 1.05}}
WITH_TURNS = sentencepieces(size=800, user_defined_symbols=RESERVED)

CHECKPOINTS = (
    Checkpoint(
        name="Baichuan-7B",
        source="baichuan-inc/Baichuan-7B",
        spec="baichuan",
        reference=baichuan("BaiChuanForCausalLM"),
        stored=Stored(BIN, F16),
        vocabulary=sentencepieces(),
        vocab_size=64000,
        roles=ROLES,
        files=BAICHUAN_CONFIG,
    ),
    Checkpoint(
        name="Baichuan-13B-Chat",
        source="baichuan-inc/Baichuan-13B-Chat",
        spec="baichuan-13b",
        reference=baichuan("BaichuanForCausalLM", alibi=True),
        stored=Stored(BIN, shards=3),
        vocabulary=WITH_TURNS,
        vocab_size=64000,
        roles=ROLES,
        files=BAICHUAN_CONFIG | TURNS,
        chat=turns_chat,
    ),
    Checkpoint(
        name="Baichuan2-7B-Chat",
        source="baichuan-inc/Baichuan2-7B-Chat",
        spec="baichuan2",
        reference=baichuan("BaichuanForCausalLM", norm_head=True),
        stored=Stored(BIN),
        vocabulary=WITH_TURNS,
        vocab_size=125696,
        roles=ROLES,
        files=BAICHUAN_CONFIG | TURNS,
        chat=turns_chat,
    ),
    Checkpoint(
        name="Baichuan2-13B-Chat",
        source="baichuan-inc/Baichuan2-13B-Chat",
        spec="baichuan2-13b",
        reference=baichuan("BaichuanForCausalLM", alibi=True, norm_head=True),
        stored=Stored(BIN, shards=3),
        vocabulary=WITH_TURNS,
        vocab_size=125696,
        roles=ROLES,
        files=BAICHUAN_CONFIG | TURNS,
        chat=turns_chat,
    ),
    Checkpoint(
        name="InternLM 7B Chat",
        source="internlm/internlm-7b",
        spec="internlm",
        reference=llama(
            {"attention_bias": "bias"},
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 1.0}},
        ),
        stored=Stored(BIN, F16, shards=8),
        vocabulary=sentencepieces(add_dummy_prefix=False, user_defined_symbols=["<eoa>"], **IDENTITY),
        roles=ROLES,
        files={"tokenizer_config.json": {"tokenizer_class": "InternLMTokenizer", "bos_token": "<s>"}},
        begin=("<s>",),
        chat=internlm_chat,
    ),
    Checkpoint(
        name="InternLM2 1.8B Chat",
        source="internlm/internlm2-chat-1_8b",
        spec="internlm2",
        reference=llama({"attention_bias": "bias"}, weights=partial(renamed, kv_heads=2)),
        stored=Stored(BIN, shards=2),
        vocabulary=sentencepieces(user_defined_symbols=["[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]"]),
        roles=ROLES,
        files={
            "tokenizer_config.json": lambda text: {
                "added_tokens_decoder": {
                    str(text.special["[UNUSED_TOKEN_145]"]): {"content": "<|im_end|>", "special": True},
                    str(text.special["[UNUSED_TOKEN_146]"]): {"content": "<|im_start|>", "special": True},
                },
                "bos_token": "<s>",
                "eos_token": "</s>",
                "tokenizer_class": "InternLM2Tokenizer",
                "chat_template": templates.CHATML_BARE,
            },
            "generation_config.json": lambda text: ids_of({"eos_token_id": ("</s>", "[UNUSED_TOKEN_145]")}, text),
        },
        begin=("<s>",),
        chat="<s>" + CHATML,
    ),
    Checkpoint(
        name="Skywork-13B-base",
        source="Skywork/Skywork-13B-base",
        spec="skywork",
        reference=llama(),
        stored=Stored(BIN, shards=8),
        vocabulary=sentencepieces(),
        roles=ROLES,
        files={"tokenizer_config.json": {"tokenizer_class": "SkyworkTokenizer"}},
        begin=("<s>",),
    ),
    Checkpoint(
        name="Qwen-7B-Chat",
        source="Qwen/Qwen-7B-Chat",
        spec="qwen",
        reference=by_hand(Qwen, ntk=True, logn=True),
        stored=Stored(shards=8),
        vocabulary=ranks(
            "qwen.tiktoken", str(load_spec("qwen").bind(QWEN).text_settings.pattern), QWEN_SPECIAL, nfc=True
        ),
        files={
            "tokenizer_config.json": {"tokenizer_class": "QWenTokenizer", "model_max_length": 32768},
            "generation_config.json": {
                "chat_format": "chatml",
                "max_window_size": 6144,
                "do_sample": True,
                "top_p": 0.8,
            },
        },
        chat=qwen_chat,
    ),
    Checkpoint(
        name="Yi-6B-Chat",
        source="01-ai/Yi-6B",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored(shards=3),
        vocabulary=bpe_json(prefix=False, special=("<|im_start|>", "<|im_end|>"), model="tokenizer.model"),
        roles=ROLES,
        files={
            "tokenizer_config.json": {
                "add_bos_token": False,
                "add_eos_token": False,
                "bos_token": "<|startoftext|>",
                "eos_token": "<|im_end|>",
                "chat_template": templates.CHATML_BARE.removeprefix("{{ bos_token }}"),
            }
        },
        chat=CHATML,
    ),
    Checkpoint(
        name="Yi-34B",
        source="01-ai/Yi-34B",
        spec="yi",
        reference=llama(weights=first_names),
        stored=Stored(shards=7),
        vocabulary=sentencepieces(add_dummy_prefix=False),
        roles=ROLES,
        files={
            "tokenizer_config.json": {"add_bos_token": False, "add_eos_token": False, "tokenizer_class": "YiTokenizer"}
        },
    ),
    Checkpoint(
        name="Yuan2-2B",
        source="IEITYuan/Yuan2-2B-hf",
        spec="yuan2",
        reference=by_hand(Yuan2),
        stored=Stored(BIN),
        vocabulary=sentencepieces(
            after=("<eod>", "<sep>"),
            user_defined_symbols=["<n>"],
            **IDENTITY,
        ),
        files={"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False}},
        end=("<sep>",),
        chat=yuan_chat,
    ),
)
