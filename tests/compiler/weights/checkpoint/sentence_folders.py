"""Folders of tiny models with a tokenizer of 32 words, as transformers and sentence-transformers write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

WORDS = ["[PAD]", "[UNK]", *(f"w{index}" for index in range(30))]
SIZES = {"vocab_size": 32, "max_position_embeddings": 16}

DECODERS: dict[str, Any] = {
    "decoder": (Qwen3ForCausalLM, Qwen3Config, {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "both-directions": (
        Gemma3TextModel,
        Gemma3TextConfig,
        {"num_key_value_heads": 1, "use_bidirectional_attention": True, "sliding_window": 4},
    ),
}


def write_transformer(folder: Path, kind: str) -> Path:
    torch.manual_seed(3)
    if kind == "bert":
        bert = BertConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, pad_token_id=0, **SIZES
        )
        BertModel(bert).save_pretrained(folder)
    elif kind in DECODERS:
        width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        model_class, config_class, options = DECODERS[kind]
        model_class(config_class(**SIZES, **width, **options, head_dim=8, pad_token_id=0)).save_pretrained(folder)
    else:
        DistilBertModel(DistilBertConfig(dim=32, hidden_dim=48, n_layers=2, n_heads=4, **SIZES)).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    return folder


def write_sentence_transformer(folder: Path, mode: Any, normalize: bool, kind: str = "bert") -> SentenceTransformer:
    transformer = Transformer(str(write_transformer(folder / "bare", kind)))
    parts = [transformer, Pooling(32, pooling_mode=mode)]
    model = SentenceTransformer(modules=[*parts, Normalize()] if normalize else parts, device="cpu")
    model.save(str(folder / "sentences"))
    return model
