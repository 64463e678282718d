"""ChatGLM 1 to 3 and GLM-4."""

from __future__ import annotations

import torch

from archc.archspec import load_spec
from archc.proof.case import Reference
from tests.checkpoints import templates
from tests.checkpoints.catalog.references import Make, by_hand, hub
from tests.checkpoints.checkpoint import MESSAGES, Checkpoint
from tests.checkpoints.published import Config
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import CL100K, Text, byte_level_json, ranks, sentencepieces
from tests.compiler.text.families import GLM4, GLM4_SPECIAL, IDENTITY, white_space
from tests.reference.chatglm import ChatGlm
from tests.reference.chatglm2 import ChatGlm2

QUESTION, ANSWER, LAST = (message["content"] for message in MESSAGES)
BLANKS = ["<n>", "<|tab|>", *(f"<|blank_{count}|>" for count in range(2, 81))]
CHATGLM_ROLES = {
    "bos_token_id": "<sop>",
    "eos_token_id": "<eop>",
    "mask_token_id": "[MASK]",
    "gmask_token_id": "[gMASK]",
}
SPECIAL2 = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
SPECIAL3 = (*SPECIAL2, "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")


def chatglm(config: Config) -> Reference:
    """ChatGLM-6B with the ids of the small tokenizer."""
    ids = {"mask": config["mask_token_id"], "gmask": config["gmask_token_id"], "bos": config["bos_token_id"]}
    return by_hand(ChatGlm, width=48, layers=2, heads=6, hidden=92, **ids)(config)


def chatglm_chat(text: Text) -> list[int]:
    rounds = f"[Round 0]\n问：{QUESTION}\n答：{ANSWER}\n[Round 1]\n问：{LAST}\n答："
    return [*text.encode(rounds), text.special["[gMASK]"], text.special["<sop>"]]


def chatglm2_chat(text: Text) -> list[int]:
    rounds = f"[Round 1]\n\n问：{QUESTION}\n\n答：{ANSWER}\n\n[Round 2]\n\n问：{LAST}\n\n答："
    return [text.special["[gMASK]"], text.special["sop"], *text.encode(rounds)]


def roles_chat(text: Text, begin: tuple[str, ...], join: bool) -> list[int]:
    """Each turn: the token of its role, a newline, the content; the two as one text with `join`."""
    ids = [text.special[name] for name in begin]
    for message in MESSAGES:
        content = message["content"]
        ids += [text.special[f"<|{message['role']}|>"]]
        ids += text.encode("\n" + content) if join else [*text.encode("\n"), *text.encode(content)]
    return [*ids, text.special["<|assistant|>"]]


def chatglm3_chat(text: Text) -> list[int]:
    return roles_chat(text, ("[gMASK]", "sop"), join=False)


def glm4_chat(text: Text) -> list[int]:
    return roles_chat(text, ("[gMASK]", "<sop>"), join=True)


ICE = sentencepieces(
    "ice_text.model",
    model_type="unigram",
    user_defined_symbols=BLANKS,
    control_symbols=["[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"],
    replace=white_space,
    **IDENTITY,
)
GLM4_PATTERN = str(load_spec("chatglm3").bind(GLM4).text_settings.pattern)
GLM4_ROLES = {"eos_token_id": ("<|endoftext|>", "<|user|>", "<|observation|>"), "pad_token_id": "<|endoftext|>"}
GLM4_CHAT = f"[gMASK]<sop><|user|>\n{QUESTION}<|assistant|>\n{ANSWER}<|user|>\n{LAST}<|assistant|>"
GLM2: Make = by_hand(ChatGlm2)
GLM3: Make = by_hand(ChatGlm2, stretch_base=True)

CHECKPOINTS = (
    Checkpoint(
        name="ChatGLM-6B",
        source="THUDM/chatglm-6b",
        spec="chatglm",
        reference=chatglm,
        stored=Stored("pytorch_model.bin", torch.float16, shards=8),
        vocabulary=ICE,
        roles=CHATGLM_ROLES,
        files={"tokenizer_config.json": {"tokenizer_class": "ChatGLMTokenizer", "num_image_tokens": 0}},
        end=("[gMASK]", "<sop>"),
        chat=chatglm_chat,
    ),
    Checkpoint(
        name="ChatGLM2-6B",
        source="THUDM/chatglm2-6b",
        changes={"_name_or_path": "THUDM/chatglm2-6b"},
        spec="chatglm2",
        reference=GLM2,
        stored=Stored("pytorch_model.bin", torch.float16, shards=7),
        vocabulary=sentencepieces(after=SPECIAL2),
        files={"tokenizer_config.json": {"tokenizer_class": "ChatGLMTokenizer"}},
        begin=("[gMASK]", "sop"),
        chat=chatglm2_chat,
    ),
    Checkpoint(
        name="ChatGLM3-6B",
        source="THUDM/chatglm3-6b",
        changes={"_name_or_path": "THUDM/chatglm3-6b"},
        spec="chatglm3",
        reference=GLM3,
        stored=Stored("pytorch_model.bin", torch.float16, shards=7),
        vocabulary=sentencepieces(after=SPECIAL3),
        files={"tokenizer_config.json": {"tokenizer_class": "ChatGLMTokenizer"}},
        begin=("[gMASK]", "sop"),
        chat=chatglm3_chat,
    ),
    Checkpoint(
        name="GLM-4-9B-Chat",
        source="THUDM/chatglm3-6b",
        spec="chatglm3",
        changes={"_name_or_path": "THUDM/glm-4-9b-chat", "num_hidden_layers": 3, "rope_ratio": 500},
        reference=by_hand(ChatGlm2, stretch_base=True, ratio=500.0),
        stored=Stored(shards=10),
        vocabulary=ranks("tokenizer.model", GLM4_PATTERN, GLM4_SPECIAL),
        vocab_size=151552,
        roles=GLM4_ROLES,
        files={"tokenizer_config.json": {"tokenizer_class": "ChatGLM4Tokenizer"}},
        begin=("[gMASK]", "<sop>"),
        chat=glm4_chat,
    ),
    Checkpoint(
        name="GLM-4-9B-Chat-hf",
        source="THUDM/glm-4-9b-chat-hf",
        spec="glm",
        reference=hub("GlmForCausalLM"),
        stored=Stored(shards=4),
        vocabulary=byte_level_json(CL100K, GLM4_SPECIAL, begin=("[gMASK]", "<sop>")),
        roles=GLM4_ROLES,
        files={"tokenizer_config.json": templates.config(templates.GLM4, eos_token="<|endoftext|>")},
        begin=("[gMASK]", "<sop>"),
        chat=GLM4_CHAT,
    ),
    Checkpoint(
        name="GLM-4-9B-0414",
        source="THUDM/GLM-4-9B-0414",
        spec="glm4",
        reference=hub("Glm4ForCausalLM"),
        stored=Stored(shards=4),
        vocabulary=byte_level_json(CL100K, GLM4_SPECIAL),
        roles=GLM4_ROLES,
        files={"chat_template.jinja": templates.GLM4, "tokenizer_config.json": {"eos_token": "<|endoftext|>"}},
        chat=GLM4_CHAT,
    ),
)
