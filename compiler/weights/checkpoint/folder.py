"""Checkpoint folders, local or from the Hugging Face Hub: config, special tokens and tokenizer files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.hub import Snapshot, fetch_config, is_hub_id

# Files that the runtime reads; a plan holds no other file of a checkpoint folder.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
_MAX_TOKENIZER_BYTES = 256 * 2**20


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids: beginning, end and padding of a sequence; `start`, the decoder prompt of an encoder-decoder; `never`,
    tokens that are not generated.
    """

    bos: int | None = None
    eos: tuple[int, ...] = ()
    pad: int | None = None
    start: tuple[int, ...] = ()
    never: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """A checkpoint folder; of a hub repository it has config and tokenizer, until `fetch_weights` is called."""

    folder: Path
    snapshot: Snapshot | None = None

    def fetch_weights(self) -> None:
        """Download the weights of a hub repository into the folder. Raises BuildError if that fails."""
        if self.snapshot is not None:
            self.snapshot.fetch_weights()


def open_source(where: str | Path) -> Source:
    """Return a local folder, or that of a hub id `owner/name[@revision]` with its config and tokenizer.

    Raises BuildError if there is no such folder, or if the repository cannot be fetched or read.
    """
    folder = Path(where)
    if folder.is_dir():
        return Source(folder)
    if folder.exists():
        raise BuildError(f"{where}: expected a folder with config.json and safetensors files, got a file")
    if not is_hub_id(where):
        raise BuildError(f"{where}: no such folder; give a checkpoint folder, or a hub id owner/name[@revision]")
    snapshot = fetch_config(str(where))
    return Source(snapshot.folder, snapshot)


def find_checkpoint(where: str | Path) -> Path:
    """Return a local folder, or the download of a hub id, with its weights.

    Raises BuildError if there is no such folder and the download fails.
    """
    source = open_source(where)
    source.fetch_weights()
    return source.folder


def read_folder_config(folder: Path) -> dict[str, Any] | None:
    """Return config.json of a checkpoint folder, or None if there is none. Raises ConfigError for a damaged file."""
    path = folder / "config.json"
    return read_config(path) if path.is_file() else None


def special_tokens(
    folder: Path | None, config: Mapping[str, Any] | None, vocab: int, answers: bool = False
) -> SpecialTokens:
    """Return token ids of generation_config.json, otherwise of config.json. Raises BuildError for an invalid id.

    For an encoder-decoder (`answers`), the decoder prompt is decoder_start_token_id, or bos_token_id without one,
    followed by forced_bos_token_id; single tokens of bad_words_ids are never generated.
    """
    sources: list[tuple[str, Mapping[str, Any]]] = []
    if folder is not None and (folder / "generation_config.json").is_file():
        sources.append(("generation_config.json", read_config(folder / "generation_config.json")))
    if config is not None:
        sources.append(("config.json", config))
    bos = _ids(sources, "bos_token_id", vocab)
    start = _ids(sources, "decoder_start_token_id", vocab) or bos
    return SpecialTokens(
        bos=next(iter(bos), None),
        eos=_ids(sources, "eos_token_id", vocab),
        pad=next(iter(_ids(sources, "pad_token_id", vocab)), None),
        start=(*start[:1], *_ids(sources, "forced_bos_token_id", vocab)[:1]) if answers and start else (),
        never=_banned(sources, vocab) if answers else (),
    )


def _banned(sources: list[tuple[str, Mapping[str, Any]]], vocab: int) -> tuple[int, ...]:
    """Return the single tokens of bad_words_ids in the first file that has the key."""
    for file, values in sources:
        words = values.get("bad_words_ids")
        if words is None:
            continue
        if not isinstance(words, list) or not all(isinstance(word, list) for word in words):
            raise BuildError(
                f"{file}: bad_words_ids: expected a list of lists of token ids, got {words!r:.60}; correct it"
            )
        single = [word[0] for word in words if len(word) == 1]
        return _ids([(file, {"bad_words_ids": single})], "bad_words_ids", vocab)
    return ()


def _ids(sources: list[tuple[str, Mapping[str, Any]]], key: str, vocab: int) -> tuple[int, ...]:
    for file, values in sources:
        value = values.get(key)
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        for item in ids:
            if not isinstance(item, int) or isinstance(item, bool):
                raise BuildError(f"{file}: {key}: expected a token id, got {item!r:.60}; correct it")
        # Some files write −1 for "none"; a tokenizer may have more ids than the model's token table.
        return tuple(item for item in ids if 0 <= item < vocab)
    return ()


def tokenizer_files(folder: Path | None) -> dict[str, bytes]:
    """Return the tokenizer files of a folder by name, without those that it lacks."""
    files: dict[str, bytes] = {}
    if folder is None:
        return files
    for name in TOKENIZER_FILES:
        path = folder / name
        if path.is_file():
            if path.stat().st_size > _MAX_TOKENIZER_BYTES:
                raise BuildError(
                    f"{path}: {path.stat().st_size} bytes, expected a tokenizer file of at most "
                    f"{_MAX_TOKENIZER_BYTES}; download it again"
                )
            files[name] = path.read_bytes()
    return files
