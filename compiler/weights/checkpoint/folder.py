"""Checkpoint folders, local or from the Hugging Face Hub: config and special tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.hub import Snapshot, fetch_config, is_hub_id

GGUF = ".gguf"
"""The ending of a file that is a whole checkpoint: settings, tokenizer and weights."""


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

    def with_stop(self, stop: Sequence[int], vocab: int) -> SpecialTokens:
        """Return the tokens with further ones that end a sequence, without those outside of the token table."""
        return replace(self, eos=tuple(dict.fromkeys([*self.eos, *(token for token in stop if token < vocab)])))


def is_checkpoint(path: str | Path) -> bool:
    """Return whether a path is a checkpoint: a folder, or a GGUF file."""
    return Path(path).is_dir() or (Path(path).suffix == GGUF and Path(path).is_file())


@dataclass(frozen=True)
class Source:
    """A checkpoint folder or GGUF file; of a hub repository it has config and tokenizer until `fetch_weights`."""

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
    if is_checkpoint(folder):
        return Source(folder)
    if folder.exists():
        raise BuildError(f"{where}: expected a folder with config.json and weights, or a .gguf file, got another file")
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
