"""Gemma, Mistral, Mixtral, OLMo, Phi, Qwen, OpenELM and Grok-1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from archc.proof.case import Reference
from tests.checkpoints import templates
from tests.checkpoints.catalog.references import by_hand, hub, own_form
from tests.checkpoints.checkpoint import Checkpoint, Refused, ids_of
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import CL100K, ONE_DIGIT, bpe_json, byte_level_json, sentencepieces, tekken
from tests.reference.grok1 import Grok1
from tests.reference.openelm import OpenElm

F32, F16 = torch.float32, torch.float16
ROLES = {"bos_token_id": "<s>", "eos_token_id": "</s>"}
GEMMA_ROLES = {"bos_token_id": "<bos>", "eos_token_id": "<eos>", "pad_token_id": "<pad>"}
GEMMA_STOPS = {"eos_token_id": ("<eos>", "<end_of_turn>")}
GEMMA_PIECES: dict[str, Any] = {
    "pad_id": 0,
    "eos_id": 1,
    "bos_id": 2,
    "unk_id": 3,
    "eos_piece": "<eos>",
    "bos_piece": "<bos>",
}
GEMMA_TEXT = bpe_json(
    prefix=False,
    begin=("<bos>",),
    special=("<start_of_turn>", "<end_of_turn>"),
    model="tokenizer.model",
    **GEMMA_PIECES,
)
GEMMA_CHAT = (
    "<bos><start_of_turn>user\nhello fox 12345<end_of_turn>\n<start_of_turn>model\nlazy dog<end_of_turn>\n"
    "<start_of_turn>user\n你好 jumps<end_of_turn>\n<start_of_turn>model\n"
)
QWEN_TEXT = byte_level_json(ONE_DIGIT, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), nfc=True, with_merges=True)
QWEN_ROLES = {"bos_token_id": "<|endoftext|>", "eos_token_id": "<|im_end|>"}
QWEN_STOPS = {"eos_token_id": ("<|im_end|>", "<|endoftext|>"), "pad_token_id": "<|endoftext|>"}
QWEN_CHAT = (
    "<|im_start|>user\nhello fox 12345<|im_end|>\n<|im_start|>assistant\nlazy dog<|im_end|>\n"
    "<|im_start|>user\n你好 jumps<|im_end|>\n<|im_start|>assistant\n"
)
QWEN_SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
MISTRAL_CONFIG = templates.config(
    templates.MISTRAL, bos_token="<s>", eos_token="</s>", add_bos_token=True, add_eos_token=False
)
MISTRAL_CHAT = "<s>[INST] hello fox 12345 [/INST]lazy dog</s>[INST] 你好 jumps [/INST]"
GROK = by_hand(Grok1, experts=4, theta=10000.0)


def mistral(folder: Path, reference: Reference) -> None:
    """Write consolidated.safetensors and params.json."""
    own_form(folder, reference, "mistral", torch.bfloat16)


def qwen(name: str, source: str, spec: str, class_name: str, shards: int, system: str = QWEN_SYSTEM) -> Checkpoint:
    """A Qwen from 1.5 on."""
    template = templates.CHATML if system else templates.CHATML_BARE.removeprefix("{{ bos_token }}")
    return Checkpoint(
        name=name,
        source=source,
        spec=spec,
        reference=hub(class_name),
        stored=Stored(shards=shards),
        vocabulary=QWEN_TEXT,
        roles=QWEN_ROLES,
        files={
            "tokenizer_config.json": templates.config(
                template,
                add_bos_token=False,
                add_prefix_space=False,
                bos_token=None,
                eos_token="<|im_end|>",
                pad_token="<|endoftext|>",
            ),
            "generation_config.json": lambda text: ids_of(QWEN_STOPS, text) | {"do_sample": True, "top_k": 20},
        },
        chat=system + QWEN_CHAT,
    )


CHECKPOINTS = (
    Checkpoint(
        name="Gemma 2B",
        source="google/gemma-2b",
        spec="gemma",
        reference=hub("GemmaForCausalLM", unit_offset=True),
        stored=Stored(shards=2),
        vocabulary=GEMMA_TEXT,
        roles=GEMMA_ROLES,
        begin=("<bos>",),
    ),
    Checkpoint(
        name="Gemma 2 2B it",
        source="google/gemma-2-2b-it",
        spec="gemma2",
        reference=hub("Gemma2ForCausalLM", unit_offset=True, attention="eager"),
        stored=Stored(shards=2),
        vocabulary=GEMMA_TEXT,
        roles=GEMMA_ROLES | GEMMA_STOPS,
        files={"tokenizer_config.json": templates.config(templates.GEMMA, bos_token="<bos>", add_bos_token=True)},
        begin=("<bos>",),
        chat=GEMMA_CHAT,
    ),
    Checkpoint(
        name="Gemma 3 1B it",
        source="google/gemma-3-1b-it",
        spec="gemma3",
        changes={"num_hidden_layers": 6},
        reference=hub("Gemma3ForCausalLM", unit_offset=True),
        stored=Stored(),
        vocabulary=GEMMA_TEXT,
        roles=GEMMA_ROLES | GEMMA_STOPS,
        files={
            "chat_template.jinja": templates.GEMMA,
            "tokenizer_config.json": {"bos_token": "<bos>", "add_bos_token": True},
        },
        begin=("<bos>",),
        chat=GEMMA_CHAT,
    ),
    Checkpoint(
        name="Mistral 7B v0.1 Instruct",
        source="mistralai/Mistral-7B-v0.1",
        spec="mistral",
        reference=hub("MistralForCausalLM"),
        stored=Stored(shards=2),
        vocabulary=bpe_json(begin=("<s>",), model="tokenizer.model"),
        roles=ROLES,
        files={"tokenizer_config.json": MISTRAL_CONFIG},
        begin=("<s>",),
        chat=MISTRAL_CHAT,
    ),
    Checkpoint(
        name="Mistral 7B v0.3 Instruct",
        source="mistralai/Mistral-7B-Instruct-v0.3",
        spec="mistral",
        reference=hub("MistralForCausalLM"),
        stored=Stored(shards=3),
        vocabulary=bpe_json(begin=("<s>",), special=("[INST]", "[/INST]"), model="tokenizer.model.v3"),
        roles=ROLES,
        # The hub's files are read, not Mistral's own next to them.
        files={"tokenizer_config.json": MISTRAL_CONFIG, "consolidated.safetensors": "unread", "params.json": "unread"},
        begin=("<s>",),
        chat=MISTRAL_CHAT,
    ),
    Checkpoint(
        name="Mistral 7B v0.3 (Mistral)",
        source="mistralai/Mistral-7B-Instruct-v0.3",
        spec="mistral",
        changes={"head_dim": 8},
        reference=hub("MistralForCausalLM"),
        stored=Stored("consolidated.safetensors"),
        own_form=mistral,
        vocabulary=sentencepieces("tokenizer.model.v3"),
        begin=("<s>",),
    ),
    Checkpoint(
        name="Devstral Small 2505",
        source="mistralai/Mistral-7B-Instruct-v0.3",
        spec="mistral",
        changes={"head_dim": 8, "rope_theta": 1e9},
        reference=hub("MistralForCausalLM"),
        stored=Stored(shards=10),
        vocabulary=tekken(5000),
        roles=ROLES,
        begin=("<s>",),
    ),
    Checkpoint(
        name="Devstral Small 2505 (Mistral)",
        source="mistralai/Mistral-7B-Instruct-v0.3",
        spec="mistral",
        changes={"head_dim": 8, "rope_theta": 1e9},
        reference=hub("MistralForCausalLM"),
        stored=Stored("consolidated.safetensors"),
        own_form=mistral,
        vocabulary=tekken(5000),
        begin=("<s>",),
    ),
    Checkpoint(
        name="Mixtral 8x7B Instruct",
        source="mistralai/Mixtral-8x7B-Instruct-v0.1",
        spec="mixtral",
        reference=hub("MixtralForCausalLM"),
        stored=Stored(shards=19),
        vocabulary=bpe_json(begin=("<s>",), model="tokenizer.model"),
        roles=ROLES,
        # Mistral's own form lies next to the hub's, and is not read.
        files={"tokenizer_config.json": MISTRAL_CONFIG, "consolidated.00.pt": "unread", "params.json": "unread"},
        begin=("<s>",),
        chat=MISTRAL_CHAT,
    ),
    Checkpoint(
        name="OLMo 1B",
        source="allenai/OLMo-1B-hf",
        spec="olmo",
        reference=hub("OlmoForCausalLM"),
        stored=Stored(dtype=F32, shards=2),
        vocabulary=byte_level_json(special=("<|endoftext|>", "<|padding|>"), nfc=True),
        roles={"eos_token_id": "<|endoftext|>", "pad_token_id": "<|padding|>"},
    ),
    Checkpoint(
        name="OLMo 2 7B",
        source="allenai/OLMo-2-1124-7B",
        spec="olmo2",
        reference=hub("Olmo2ForCausalLM"),
        stored=Stored(dtype=F32, shards=6),
        vocabulary=byte_level_json(CL100K, ("<|endoftext|>", "<|pad|>"), with_merges=True),
        roles={"eos_token_id": "<|endoftext|>", "pad_token_id": "<|pad|>"},
    ),
    *(
        Checkpoint(
            name=name,
            source=source,
            spec="phi",
            changes={"hidden_size": 80},
            reference=hub("PhiForCausalLM"),
            stored=Stored(dtype=F16, shards=shards),
            vocabulary=byte_level_json(with_merges=True),
            roles={"bos_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>"},
            files={"added_tokens.json": lambda text: {"<|endoftext|>": text.special["<|endoftext|>"]}},
        )
        for name, source, shards in (("Phi-1.5", "microsoft/phi-1_5", 1), ("Phi-2", "microsoft/phi-2", 2))
    ),
    Checkpoint(
        name="Phi-3 Mini 4K Instruct",
        source="microsoft/Phi-3-mini-4k-instruct",
        spec="phi3",
        reference=hub("Phi3ForCausalLM"),
        stored=Stored(shards=2),
        vocabulary=bpe_json(special=("<|endoftext|>", "<|assistant|>", "<|user|>", "<|end|>"), model="tokenizer.model"),
        roles={"bos_token_id": "<s>", "eos_token_id": "<|endoftext|>", "pad_token_id": "<|endoftext|>"},
        files={
            "tokenizer_config.json": templates.config(
                templates.PHI3, add_bos_token=False, bos_token="<s>", eos_token="<|endoftext|>"
            ),
            "generation_config.json": lambda text: ids_of({"eos_token_id": ("<|endoftext|>", "<|end|>")}, text),
        },
        chat="<|user|>\nhello fox 12345<|end|>\n<|assistant|>\nlazy dog<|end|>\n<|user|>\n你好 jumps<|end|>\n"
        "<|assistant|>\n",
    ),
    qwen("Qwen1.5 0.5B Chat", "Qwen/Qwen1.5-0.5B-Chat", "qwen2", "Qwen2ForCausalLM", 1),
    qwen("Qwen2.5 7B Instruct", "Qwen/Qwen2.5-7B-Instruct", "qwen2", "Qwen2ForCausalLM", 4),
    qwen("Qwen1.5 MoE A2.7B", "Qwen/Qwen1.5-MoE-A2.7B", "qwen2-moe", "Qwen2MoeForCausalLM", 8),
    qwen("Qwen3 0.6B", "Qwen/Qwen3-0.6B", "qwen3", "Qwen3ForCausalLM", 1, system=""),
    qwen("Qwen3 30B A3B", "Qwen/Qwen3-30B-A3B", "qwen3-moe", "Qwen3MoeForCausalLM", 16, system=""),
    Checkpoint(
        name="OpenELM 270M",
        source="apple/OpenELM-270M",
        spec="openelm",
        reference=by_hand(OpenElm, heads=[3, 6], kv_heads=[1, 2], multipliers=[0.9, 2.0], widths=[64, 128]),
        stored=Stored(dtype=F32),
        vocabulary=sentencepieces(),
        begin=("<s>",),
        is_tokenizer_elsewhere=True,
    ),
    Checkpoint(
        name="Grok-1 (hpcai-tech)",
        source="hpcai-tech/grok-1",
        spec="grok1",
        reference=GROK,
        stored=Stored("pytorch_model.bin", shards=19),
        vocabulary=sentencepieces(),
        roles=ROLES,
        files={"tokenizer_config.json": {"add_bos_token": False}},
    ),
    Checkpoint(
        name="Grok-1 (keyfan)",
        source="hpcai-tech/grok-1",
        spec="grok1",
        reference=GROK,
        stored=Stored(shards=65),
        vocabulary=sentencepieces(),
        roles=ROLES,
        files={"tokenizer_config.json": {"add_bos_token": False}},
    ),
)

REFUSED = (
    Refused(
        name="Grok-1 (xai-org)",
        files=("ckpt-0/tensor00000_000", "ckpt-0/tensor00001_000", "tokenizer.model"),
        message="use the hub repository hpcai-tech/grok-1",
        form="pickled JAX arrays",
        instead="`hpcai-tech/grok-1`",
    ),
)
