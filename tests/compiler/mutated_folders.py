"""Folders whose files a test damages one at a time, and the part of a build that reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import tokenizers
import torch
from safetensors.torch import save_file

from archc.archspec.vocabulary import Text
from archc.compiler.build import bind
from archc.compiler.text.family import text_files
from archc.compiler.weights.checkpoint.adapters import AdapterOption, open_adapters
from archc.compiler.weights.checkpoint.containers import open_weights, read_checkpoint_config
from archc.compiler.weights.checkpoint.generation import special_tokens
from archc.compiler.weights.checkpoint.sentence_modules import choose_pooler
from archc.compiler.weights.packings.detect import unpack
from archc.plan.reader import Plan
from archc.runtime.text.tokenizer import FOLDER, Tokenizer
from tests.compiler.text.families import IDENTITY, train_pieces
from tests.compiler.text.strings import mixture
from tests.compiler.text.test_ranks import ranks_file, tekken
from tests.compiler.weights.checkpoint.test_adapters import llama, write_adapter, write_base
from tests.compiler.weights.checkpoint.test_params import MISTRAL
from tests.compiler.weights.checkpoint.test_params import write as write_params
from tests.compiler.weights.packings.test_gptq import gptq_layer

TEXT = "Hello, world \u00bd"
_PATTERN = r"'s|\p{L}+|\p{N}{1,3}|[^\s\p{L}\p{N}]+|\s+"
_TOKEN = {
    "content": "<s>",
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "single_word": False,
    "special": True,
}
_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "added_tokens_decoder": {"1": _TOKEN, "2": _TOKEN | {"content": "</s>"}},
    "bos_token": "<s>",
    "eos_token": {"content": "</s>"},
    "additional_special_tokens": ["<pad>"],
    "chat_template": "{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}",
}
_GENERATION = {"bos_token_id": 1, "eos_token_id": [2, 3], "temperature": 0.6, "top_p": 0.9, "top_k": 40}
_GENERATION |= {"suppress_tokens": [5, 6], "bad_words_ids": [[1, 2], [3]], "sequence_bias": [[[4], -1.5]]}
_TEMPLATE = (
    "{%- for m in messages -%}<|{{ m['role'] }}|>{{ m['content'] | trim }}{% if loop.last %}!{% endif %}{%- endfor %}"
)


@dataclass(frozen=True)
class Kind:
    """`write` fills a folder and returns the files to damage; `read` is the part of a build that reads the folder.

    A kind that is not `fast` converts a table of normalization, or starts a process, for each read.
    """

    write: Callable[[Path], list[Path]]
    read: Callable[[Path], None]
    fast: bool = True


def _text(folder: Path) -> Tokenizer | None:
    """Convert the tokenizer as a build does, and read it as the runtime does."""
    files, _ = text_files(folder, None, Text(pattern=_PATTERN), (), lambda message: None)
    files = {FOLDER + name: data for name, data in files.items()}
    return Tokenizer.from_plan(cast(Plan, SimpleNamespace(names=files, read=files.__getitem__, path=folder)))


def _encode(folder: Path) -> None:
    tokenizer = _text(folder)
    if tokenizer is not None:
        tokenizer.decode(tokenizer.encode(TEXT))


def _chat(folder: Path) -> None:
    tokenizer = _text(folder)
    if tokenizer is not None:
        tokenizer.chat_ids([{"role": "user", "content": TEXT}])


def _text_kind(
    write: Callable[[Path], None], *names: str, read: Callable[[Path], None] = _encode, fast: bool = True
) -> Kind:
    """Return the kind of a folder with a tokenizer, of which files of these names are damaged."""

    def fill(folder: Path) -> list[Path]:
        write(folder)
        return [folder / name for name in names]

    return Kind(fill, read, fast)


def _sentencepiece(folder: Path) -> None:
    train_pieces(folder / "tokenizer.model", 380, user_defined_symbols=["<sep>", "\u00bd"], **IDENTITY)


def _unigram(folder: Path) -> None:
    train_pieces(folder / "spiece.model", 64, model_type="unigram", byte_fallback=False, user_defined_symbols=["<sep>"])


def _ranks(folder: Path) -> None:
    (folder / "qwen.tiktoken").write_bytes(ranks_file(300))


def _tekken(folder: Path) -> None:
    config = tekken()["config"] | {"default_vocab_size": 320, "default_num_special_tokens": 20}
    (folder / "tekken.json").write_text(json.dumps({**tekken(), "config": config, "vocab": tekken()["vocab"][:300]}))


def _merges(folder: Path) -> None:
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(mixture(1, 500), vocab_size=400, min_frequency=1, show_progress=False)
    trained.save_model(str(folder))


def _words(folder: Path) -> None:
    trained = tokenizers.BertWordPieceTokenizer()
    trained.train_from_iterator(mixture(1, 500), vocab_size=400, min_frequency=1, show_progress=False)
    trained.save_model(str(folder))


def _tokenizer_json(folder: Path) -> None:
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(mixture(1, 500), vocab_size=300, min_frequency=1, show_progress=False)
    trained.add_special_tokens(["<s>", "</s>"])
    trained.save(str(folder / "tokenizer.json"))


def _longest_match(folder: Path) -> None:
    tokens = [bytes([byte]) for byte in range(256)] + [b"he", b"hello", "½".encode(), b"wor"]
    lines = [f"{index} {_literal(token)} {len(token)}\n" for index, token in enumerate(tokens, 1)]
    (folder / "rwkv_vocab_v1.txt").write_text("".join(lines), "utf-8")


def _literal(token: bytes) -> str:
    try:
        return repr(token.decode())
    except UnicodeDecodeError:
        return repr(token)


def _configured(folder: Path) -> None:
    _sentencepiece(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(_CONFIG))
    (folder / "special_tokens_map.json").write_text(json.dumps({"unk_token": "<unk>", "pad_token": _TOKEN}))
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": 900, "<more>": 901}))


def _templated(folder: Path) -> None:
    _tokenizer_json(folder)
    (folder / "chat_template.jinja").write_text(_TEMPLATE)


def _adapter(folder: Path) -> list[Path]:
    write_base(llama(), folder)
    adapter = write_adapter(llama(), folder / "adapter", target_modules=["q_proj"], r=2, modules_to_save=["norm"])
    return [adapter / "adapter_config.json", adapter / "adapter_model.safetensors"]


def _read_adapter(folder: Path) -> None:
    weights = open_adapters(open_weights(folder), [AdapterOption(folder / "adapter")])
    for name in weights.names():
        weights.read(name)


def _gptq(folder: Path) -> list[Path]:
    stored, _ = gptq_layer("a", torch.randn(32, 64, generator=torch.Generator().manual_seed(1)), 4, 32, 1, True)
    return _packed(folder, stored, {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True})


def _fp8(folder: Path) -> list[Path]:
    element = torch.randn(10, 8, generator=torch.Generator().manual_seed(1)).to(torch.float8_e4m3fn)
    stored = {"a.weight": element, "a.weight_scale_inv": torch.rand(3, 2), "b.weight": torch.rand(3)}
    return _packed(folder, stored, {"quant_method": "fp8", "weight_block_size": [4, 4], "fmt": "e4m3"})


def _packed(folder: Path, stored: dict[str, torch.Tensor], config: dict[str, Any]) -> list[Path]:
    save_file({name: value.contiguous() for name, value in stored.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    return [folder / "model.safetensors", folder / "config.json"]


def _read_packed(folder: Path) -> None:
    weights = unpack(open_weights(folder), folder)
    for name in weights.names():
        if weights.bytes(name) < 2**20:
            weights.read(name)


def _params(folder: Path) -> list[Path]:
    write_params(folder, MISTRAL.build(num_hidden_layers=1), "mistral")
    return [folder / "params.json"]


def _read_params(folder: Path) -> None:
    config = read_checkpoint_config(folder)
    open_weights(folder)
    bind("mistral", config, None, ())


def _modules(folder: Path) -> list[Path]:
    listed = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize"))
    entries = [{"idx": i, "name": str(i), "path": path, "type": f"x.{kind}"} for i, (path, kind) in enumerate(listed)]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "2_Dense").mkdir()
    dense = {"in_features": 32, "out_features": 16, "bias": True, "activation_function": "torch.nn.Tanh"}
    (folder / "2_Dense/config.json").write_text(json.dumps(dense))
    return [folder / "modules.json", folder / "1_Pooling/config.json", folder / "2_Dense/config.json"]


def _read_modules(folder: Path) -> None:
    choose_pooler(folder, "encoder", ())


def _generation(folder: Path) -> list[Path]:
    (folder / "generation_config.json").write_text(json.dumps(_GENERATION))
    return [folder / "generation_config.json"]


def _read_generation(folder: Path) -> None:
    special_tokens(folder, {"bos_token_id": 1}, 100)


KINDS = {
    "sentencepiece": _text_kind(_sentencepiece, "tokenizer.model"),
    "unigram": _text_kind(_unigram, "spiece.model", fast=False),
    "ranks": _text_kind(_ranks, "qwen.tiktoken"),
    "tekken": _text_kind(_tekken, "tekken.json"),
    "tokenizer-json": _text_kind(_tokenizer_json, "tokenizer.json"),
    "merges": _text_kind(_merges, "vocab.json", "merges.txt"),
    "words": _text_kind(_words, "vocab.txt"),
    "longest-match": _text_kind(_longest_match, "rwkv_vocab_v1.txt"),
    "tokenizer-config": _text_kind(
        _configured, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
    ),
    "chat-template": _text_kind(_templated, "chat_template.jinja", read=_chat, fast=False),
    "adapter": Kind(_adapter, _read_adapter),
    "gptq": Kind(_gptq, _read_packed),
    "fp8": Kind(_fp8, _read_packed),
    "params": Kind(_params, _read_params),
    "modules": Kind(_modules, _read_modules),
    "generation-config": Kind(_generation, _read_generation),
}
