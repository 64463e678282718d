"""Llama 1 to 3."""

from __future__ import annotations

import torch

from tests.checkpoints import templates
from tests.checkpoints.catalog.references import hub
from tests.checkpoints.checkpoint import Checkpoint, ids_of
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import CL100K, bpe_json, byte_level_json

F16 = torch.float16
ROLES = {"bos_token_id": "<s>", "eos_token_id": "</s>"}
STOPS = {"bos_token_id": "<|begin_of_text|>", "eos_token_id": ("<|end_of_text|>", "<|eot_id|>")}
LLAMA3_SPECIAL = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
)

CHECKPOINTS = (
    Checkpoint(
        name="Llama 7B",
        source="huggyllama/llama-7b",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored(dtype=F16, shards=2),
        vocabulary=bpe_json(begin=("<s>",), model="tokenizer.model"),
        roles=ROLES,
        begin=("<s>",),
        files={"generation_config.json": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}},
    ),
    Checkpoint(
        name="Llama 2 7B Chat",
        source="meta-llama/Llama-2-7b-chat-hf",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored(dtype=F16, shards=2),
        vocabulary=bpe_json(begin=("<s>",), model="tokenizer.model"),
        roles=ROLES,
        begin=("<s>",),
        files={
            "tokenizer_config.json": templates.config(templates.LLAMA2, bos_token="<s>", eos_token="</s>"),
            "generation_config.json": {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
        },
        chat="<s>[INST] hello fox 12345 [/INST] lazy dog </s><s>[INST] 你好 jumps [/INST]",
    ),
    Checkpoint(
        name="Llama 3 8B Instruct",
        source="meta-llama/Meta-Llama-3-8B-Instruct",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored(shards=4),
        vocabulary=byte_level_json(CL100K, LLAMA3_SPECIAL, begin=("<|begin_of_text|>",)),
        roles={"bos_token_id": "<|begin_of_text|>", "eos_token_id": "<|eot_id|>"},
        begin=("<|begin_of_text|>",),
        files={
            "tokenizer_config.json": templates.config(
                templates.LLAMA3, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
            ),
            "generation_config.json": lambda text: (
                ids_of(STOPS, text) | {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
            ),
        },
        chat="<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhello fox 12345<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nlazy dog<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n你好 jumps<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
)
