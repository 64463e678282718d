"""Llama 1 to 3, SmolLM2, and the model of the course CS336."""

from __future__ import annotations

from pathlib import Path

import torch

from archc.proof.case import Reference
from tests.checkpoints import templates
from tests.checkpoints.catalog.references import by_hand, hub, own_form
from tests.checkpoints.checkpoint import Checkpoint, ids_of
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import CL100K, bpe_json, byte_level_json, merges_files, ranks, sentencepieces
from tests.reference.small_lm import SmallLm

F16 = torch.float16
ROLES = {"bos_token_id": "<s>", "eos_token_id": "</s>"}
STOPS = {"bos_token_id": "<|begin_of_text|>", "eos_token_id": ("<|end_of_text|>", "<|eot_id|>")}
LLAMA3_SPECIAL = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
)
# Of models/llama3/tokenizer.py in meta-llama/llama-models.
META_SPECIAL = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
    *("<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"),
    *("<|eot_id|>", "<|python_tag|>", *(f"<|reserved_special_token_{index}|>" for index in range(2, 247))),
)


def meta(folder: Path, reference: Reference) -> None:
    """Write consolidated.00.pth and params.json."""
    own_form(folder, reference, "llama", F16)


def meta3(folder: Path, reference: Reference) -> None:
    """Write the files of Llama 3's folder `original`."""
    own_form(folder, reference, "llama", torch.bfloat16)


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
        name="Llama 2 7B (Meta)",
        source="meta-llama/Llama-2-7b-chat-hf",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored("consolidated.00.pth", F16),
        own_form=meta,
        vocabulary=sentencepieces(),
        begin=("<s>",),
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
    Checkpoint(
        name="Llama 3.2 1B",
        source="meta-llama/Llama-3.2-1B-Instruct",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored(),
        vocabulary=byte_level_json(CL100K, LLAMA3_SPECIAL, begin=("<|begin_of_text|>",)),
        roles=STOPS,
        begin=("<|begin_of_text|>",),
    ),
    Checkpoint(
        name="Llama 3 8B (Meta)",
        source="meta-llama/Meta-Llama-3-8B-Instruct",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored("consolidated.00.pth"),
        own_form=meta3,
        vocabulary=ranks("tokenizer.model", CL100K, META_SPECIAL),
        vocab_size=128256,
        begin=("<|begin_of_text|>",),
    ),
    Checkpoint(
        name="SmolLM2 135M Instruct",
        source="HuggingFaceTB/SmolLM2-135M-Instruct",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored(),
        vocabulary=byte_level_json(special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), with_merges=True),
        roles={"bos_token_id": "<|im_start|>", "eos_token_id": "<|im_end|>", "pad_token_id": "<|im_end|>"},
        files={
            "tokenizer_config.json": templates.config(
                templates.CHATML, bos_token="<|im_start|>", eos_token="<|im_end|>", add_prefix_space=False
            )
        },
        chat="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nhello fox 12345<|im_end|>\n"
        "<|im_start|>assistant\nlazy dog<|im_end|>\n<|im_start|>user\n你好 jumps<|im_end|>\n<|im_start|>assistant\n",
    ),
    Checkpoint(
        name="CS336 language model",
        source=None,
        changes={
            "vocab_size": 0,
            "context_length": 0,
            "d_model": 0,
            "num_layers": 0,
            "num_heads": 0,
            "d_ff": 0,
            "rope_theta": 0,
            "eps": 0,
        },
        spec="small-lm",
        reference=by_hand(SmallLm, width=32, layers=2, heads=4, hidden=48),
        stored=Stored("checkpoint.pt", torch.float32),
        vocabulary=merges_files(("<|endoftext|>",)),
        is_spec_named=True,
    ),
)
