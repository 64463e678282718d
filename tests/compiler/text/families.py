"""Small folders of families whose tokenizer and chat format are in code, with configs of the published form."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import tiktoken

CORPUS = [f"the quick brown fox {i} jumps over the lazy dog; hello you, 问题 答案 你好 世界 今天" for i in range(300)]
IDENTITY: dict[str, Any] = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}

GLM4_SPECIAL = [
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
]
RESERVED = [f"<reserved_{index}>" for index in range(260)]

CHATGLM: dict[str, Any] = {
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "vocab_size": 130528,
    "hidden_size": 32,
    "inner_hidden_size": 64,
    "num_layers": 1,
    "num_attention_heads": 2,
    "max_sequence_length": 64,
    "position_encoding_2d": True,
}
CHATGLM2: dict[str, Any] = {
    "_name_or_path": "THUDM/chatglm2-6b",
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "padded_vocab_size": 65024,
    "hidden_size": 32,
    "ffn_hidden_size": 48,
    "num_layers": 1,
    "num_attention_heads": 2,
    "kv_channels": 16,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "seq_length": 64,
    "eos_token_id": 2,
}
CHATGLM3 = CHATGLM2 | {"_name_or_path": "THUDM/chatglm3-6b"}
GLM4 = CHATGLM2 | {
    "_name_or_path": "THUDM/glm-4-9b-chat",
    "num_hidden_layers": 1,
    "padded_vocab_size": 151552,
    "rope_ratio": 500,
    "eos_token_id": 263,
}
LLAMA: dict[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
BAICHUAN = LLAMA | {"model_type": "baichuan", "architectures": ["BaiChuanForCausalLM"], "vocab_size": 64000}
BAICHUAN2 = BAICHUAN | {"architectures": ["BaichuanForCausalLM"], "vocab_size": 125696, "z_loss_weight": 0}
BAICHUAN_13B = {key: value for key, value in BAICHUAN.items() if key != "max_position_embeddings"} | {
    "architectures": ["BaichuanForCausalLM"],
    "model_max_length": 64,
}
BAICHUAN2_13B = BAICHUAN_13B | {"vocab_size": 125696, "z_loss_weight": 0}
QWEN: dict[str, Any] = {
    "model_type": "qwen",
    "architectures": ["QWenLMHeadModel"],
    "vocab_size": 151936,
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "kv_channels": 16,
    "seq_length": 64,
    "max_position_embeddings": 64,
}
INTERNLM = LLAMA | {"model_type": "internlm", "architectures": ["InternLMForCausalLM"], "vocab_size": 103168}
YUAN = LLAMA | {"model_type": "yuan", "architectures": ["YuanForCausalLM"], "vocab_size": 135040, "causal_mask": True}
YUAN["tie_word_embeddings"] = True
SKYWORK = LLAMA | {"model_type": "skywork", "architectures": ["SkyworkForCausalLM"], "vocab_size": 65519}
OPENELM: dict[str, Any] = {
    "model_type": "openelm",
    "architectures": ["OpenELMForCausalLM"],
    "vocab_size": 32000,
    "model_dim": 32,
    "num_transformer_layers": 1,
    "head_dim": 16,
    "num_query_heads": [2],
    "num_kv_heads": [1],
    "ffn_multipliers": [1.0],
    "ffn_dim_divisor": 16,
    "max_context_length": 64,
}
RWKV5: dict[str, Any] = {
    "model_type": "rwkv5",
    "architectures": ["RwkvForCausalLM"],
    "vocab_size": 65536,
    "hidden_size": 64,
    "num_hidden_layers": 1,
}


def white_space(text: str) -> str:
    """Return a text with ChatGLM-6B's tokens for white space."""
    text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
    for count in range(80, 1, -1):
        text = text.replace(" " * count, f"<|blank_{count}|>")
    return text


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    """Write config.json into a new folder and return it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def train_pieces(path: Path, size: int = 480, **options: Any) -> sentencepiece.SentencePieceProcessor:
    """Train a sentencepiece model, BPE with byte fallback by default, save it, and return the library's processor."""
    stream = io.BytesIO()
    options = {"model_type": "bpe", "byte_fallback": True, "character_coverage": 1.0, "vocab_size": size} | options
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=stream, minloglevel=2, hard_vocab_limit=False, **options
    )
    path.write_bytes(stream.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=stream.getvalue())


# Merges over the 256 bytes.
_MERGES = (b"he", b"ll", b"llo", b"hello", b"12", b"123", b" f", b"ox", b" fox", b"\n\n", b"e\xcc")


def write_ranks(path: Path, pattern: str, special: Sequence[str]) -> tiktoken.Encoding:
    """Write a small file of tiktoken's ranks, and return the library's encoding with these special tokens after it."""
    tokens = [bytes([byte]) for byte in range(256)] + list(_MERGES)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()))
    numbered = {token: len(ranks) + index for index, token in enumerate(special)}
    return tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens=numbered)
