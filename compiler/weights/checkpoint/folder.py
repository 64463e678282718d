"""A checkpoint folder, local or from the hub: its config, its special tokens, and the files that text needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError

# Read by the runtime; everything else of a checkpoint folder stays behind.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
_DOWNLOADED = ["*.safetensors", "*.json", "tokenizer.model", "*.jinja"]
_MAX_TOKENIZER_BYTES = 256 * 2**20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that begin, end and pad a sequence; those that an encoder-decoder's answer begins with, and those that are
    never written."""

    bos: int | None
    eos: tuple[int, ...]
    pad: int | None
    start: tuple[int, ...] = ()
    never: tuple[int, ...] = ()


def find_checkpoint(where: str | Path) -> Path:
    """A local folder, or the download of a hub id `owner/name[@revision]`. Raises BuildError where there is neither."""
    folder = Path(where)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise BuildError(f"{where}: a checkpoint is a folder with config.json and safetensors files, not a file")
    if not _HUB_ID.fullmatch(str(where)):
        raise BuildError(f"{where}: no such folder, and not a hub id of the form owner/name or owner/name@revision")
    return _download(str(where))


def _download(hub_id: str) -> Path:
    """Fetches data files only: no code of a checkpoint is ever stored or run."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = hub_id.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_DOWNLOADED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BuildError(
            f"{hub_id}: no folder of that name here, and the hub does not give it: {reason:.300}"
        ) from None


def read_folder_config(folder: Path) -> dict[str, Any] | None:
    """config.json of a checkpoint folder, or None where it has none. Raises ConfigError where it cannot be read."""
    path = folder / "config.json"
    return read_config(path) if path.is_file() else None


def special_tokens(
    folder: Path | None, config: Mapping[str, Any] | None, vocab: int, answers: bool = False
) -> SpecialTokens:
    """Token ids from generation_config.json, else from config.json. Raises BuildError for what is no id.

    A model that `answers` a source begins with decoder_start_token_id, or with bos_token_id where there is none, and
    goes on with forced_bos_token_id; what bad_words_ids has as single tokens it never writes.
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
    """The single tokens of bad_words_ids, of the first file that has it."""
    for file, values in sources:
        words = values.get("bad_words_ids")
        if words is None:
            continue
        if not isinstance(words, list) or not all(isinstance(word, list) for word in words):
            raise BuildError(f"{file}: bad_words_ids is {words!r:.60}, where lists of token ids are expected")
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
                raise BuildError(f"{file}: {key} is {item!r:.60}, where a token id is expected")
        # −1 is how some files write "none"; ids past the table are those of a tokenizer larger than the model.
        return tuple(item for item in ids if 0 <= item < vocab)
    return ()


def tokenizer_files(folder: Path | None) -> dict[str, bytes]:
    """The files that text needs, by name; those that are there."""
    files = {}
    for name in TOKENIZER_FILES if folder is not None else ():
        path = folder / name  # type: ignore[operator]
        if path.is_file():
            if path.stat().st_size > _MAX_TOKENIZER_BYTES:
                raise BuildError(f"{path}: larger than {_MAX_TOKENIZER_BYTES} bytes, which no tokenizer file is")
            files[name] = path.read_bytes()
    return files
