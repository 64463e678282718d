"""Tokenizers of the tests: one like SentencePiece's with byte fallback, and one of words."""

from __future__ import annotations

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

SPECIAL = ["<s>", "</s>", "<think>", "</think>"]


def sentencepiece_like() -> tokenizers.Tokenizer:
    """Return a BPE tokenizer with a space before the text, `▁` for spaces, and byte fallback, as Llama 2 has it."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdehinostx<>/\n"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "s"), ("▁s", "a"), ("▁sa", "t"), ("▁", "o"), ("▁o", "n")]
    pieces += ["".join(pair) for pair in merges]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL])
    return tokenizer


def words() -> tokenizers.Tokenizer:
    """Return a WordPiece tokenizer, whose decoder puts spaces between words and none before punctuation."""
    pieces = ["[UNK]", "the", "cat", "sat", "##s", "on", ".", "'", "t", "don", "!"]
    tokenizer = tokenizers.Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken("[SEP]", special=True)])
    return tokenizer
