"""Repositories of the Hugging Face Hub: config and tokenizer are fetched first, weights after these were understood.

Only files that archc reads are fetched, never code, and all of one commit.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_parts import part_names

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?(:[\w.][\w./ -]*\.gguf)?")
_TIMEOUT = 10.0  # seconds until a server that does not answer is given up
# Files of a repository's root that describe the model and its text; an index of shards is one of the .json files.
_SMALL = ("*.json", "*.jinja")  # and the files of tokenizers
# The same below the root: chat templates by name, and the modules of sentence-transformers.
_SMALL_BELOW = ("additional_chat_templates/*.jinja", "[0-9]_*/config.json")
_MOST_SMALL_BYTES = 256 * 2**20
# Weights in the order of preference: an index with shards, or a single file.
_CONTAINERS = (
    ("model.safetensors.index.json", ("model.safetensors",), "*.safetensors"),
    ("pytorch_model.bin.index.json", ("pytorch_model.bin",), "*.bin"),
    ("", (), "*.pth"),
    ("", (), "*.pt"),
)
# Formats of other publishers, read only if the repository has no other: with Meta's or Mistral's params.json.
_CONSOLIDATED = ("consolidated*.safetensors", "consolidated*.pth")
# State of a training run, and weights of other things than the model.
_NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state.*|adapter_model|consolidated.*)\.\w+")
_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_UNREADABLE = ("*.gguf", "*.h5", "*.msgpack", "*.ckpt", "*.onnx", "*.npz", "*.ckpt.*", "*.nemo")


@dataclass(frozen=True)
class Repository:
    """A repository at one commit, which a revision names, with the sizes of its files in bytes, None if unknown."""

    hub_id: str
    name: str
    revision: str
    commit: str
    files: Mapping[str, int | None]


@dataclass(frozen=True)
class Snapshot:
    """A local folder with a repository's config and tokenizer files, and the weight files that are still missing."""

    repository: Repository
    folder: Path
    weights: tuple[str, ...]

    def fetch_weights(self) -> None:
        """Fetch the weights into the same folder; a broken download is resumed by the next one. Raises BuildError."""
        _fetch(self.repository, self.weights)


def is_hub_id(text: str | Path) -> bool:
    """Return whether a text is a hub id `owner/name[@revision][:FILE.gguf]`, and no such folder or file exists."""
    return _HUB_ID.fullmatch(str(text)) is not None and not Path(text).exists()


def names_repository(spec: str | Path) -> bool:
    """Return whether a SPEC argument is a hub id, and not the path of a YAML file that does not exist."""
    return is_hub_id(spec) and not str(spec).endswith((".yaml", ".yml"))


def fetch_config(hub_id: str) -> Snapshot:
    """Fetch config.json and the tokenizer files of a hub id `owner/name[@revision]`.

    Raises BuildError if the download fails, or if the repository has no weights that archc reads.
    """
    repository = list_repository(hub_id)
    small = choose_small_files(repository)
    weights = choose_weights(repository, {})  # refuses before anything is fetched
    # By its revision, so that the cache has the commit of that name, and the weights of the same commit.
    folder = _fetch(repository, small, repository.revision)
    repository = replace(repository, commit=folder.name)
    index = next((name for name, _, _ in _CONTAINERS if name and name in small), None)
    if index is not None:
        weights = choose_weights(repository, {index: _read_shards(folder / index, repository)})
    return Snapshot(repository, folder, weights)


def fetch_gguf(hub_id: str) -> Path:
    """Fetch the GGUF file of a hub id `owner/name[@revision]:FILE.gguf`, all of its parts if it has several.

    Raises BuildError if the repository does not have it, or if the download fails.
    """
    repository = list_repository(hub_id.partition(":")[0])
    path = PurePosixPath(hub_id.partition(":")[2])
    names = [str(path.with_name(name)) for name in part_names(path.name)]
    if missing := [name for name in names if name not in repository.files]:
        raise BuildError(
            f"{hub_id}: {_shown(missing)} not found in the repository, whose GGUF files are "
            f"{_shown([name for name in repository.files if name.endswith('.gguf')]) or 'none'}; name one of them"
        )
    return _fetch(repository, names, repository.revision) / path


def fetch_adapter(hub_id: str) -> Path:
    """Fetch the LoRA adapter of a hub id; return its folder. Raises BuildError if there is none."""
    repository = list_repository(hub_id)
    weights = next((name for name in _ADAPTER_FILES if name in repository.files), None)
    if "adapter_config.json" not in repository.files or weights is None:
        raise BuildError(
            f"{hub_id}: expected adapter_config.json and {' or '.join(_ADAPTER_FILES)} in the repository, found "
            f"{_shown(repository.files)}; give a repository with a LoRA adapter"
        )
    small = [name for name in choose_small_files(repository) if name != "adapter_config.json"]
    return _fetch(repository, ["adapter_config.json", weights, *small])


def list_repository(hub_id: str) -> Repository:
    """Return the files of a hub id at the newest commit of its revision. Raises BuildError if it cannot be read."""
    from huggingface_hub import HfApi

    name, _, revision = hub_id.partition("@")
    try:
        found = HfApi().model_info(name, revision=revision or None, timeout=_TIMEOUT, files_metadata=True)
    except Exception as error:
        # Versions of huggingface_hub use different HTTP libraries, whose errors have no common class.
        if (cached := _cached(hub_id, name, revision or "main")) is not None and not _is_refusal(error):
            return cached
        raise BuildError(f"{hub_id}: {_explain(error, revision)}") from None
    files = {item.rfilename: item.size for item in found.siblings or ()}
    if found.sha is None:
        raise BuildError(f"{hub_id}: the hub did not name the commit of the repository; try again")
    return Repository(
        hub_id, name, revision or "main", found.sha, {file: size for file, size in files.items() if _is_plain(file)}
    )


def choose_small_files(repository: Repository) -> tuple[str, ...]:
    """Return the files that describe the model and its text: config, tokenizer, chat templates, shard indices."""
    from archc.compiler.text.convert import TOKENIZER_PATTERNS

    patterns = (*_SMALL, *TOKENIZER_PATTERNS)
    root = [name for name in repository.files if "/" not in name and _matches(name, patterns)]
    below = [name for name in repository.files if "/" in name and _matches(name, _SMALL_BELOW)]
    return tuple(name for name in (*root, *below) if (repository.files[name] or 0) <= _MOST_SMALL_BYTES)


def choose_weights(repository: Repository, shards: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the weight files of the first container that the repository has; `shards` are those of read indices.

    Raises BuildError if it has none that archc reads, and if its files are not of one model.
    """
    root = [name for name in repository.files if "/" not in name]
    for index, singles, pattern in _CONTAINERS:
        matching = [name for name in root if fnmatchcase(name, pattern) and not _NO_WEIGHTS.fullmatch(name)]
        if index in root and matching:
            return (*shards.get(index, ()), *_modules(repository))
        for single in singles:
            if single in matching:
                return (single, *_modules(repository))
        if len(matching) > 1:
            raise BuildError(
                f"{repository.hub_id}: has several weight files and no index of shards, {_shown(matching)}; download "
                "those of one model into a folder, and pass the folder"
            )
        if matching:
            return (*matching, *_modules(repository))
    for pattern in _CONSOLIDATED:
        if matching := [name for name in root if fnmatchcase(name, pattern)]:
            return tuple(matching)
    raise BuildError(f"{repository.hub_id}: {_nothing_readable(repository)}")


def _modules(repository: Repository) -> list[str]:
    """Return the weights of sentence-transformers modules below the root, of one container."""
    for file in ("model.safetensors", "pytorch_model.bin"):
        if names := [name for name in repository.files if fnmatchcase(name, f"[0-9]_*/{file}")]:
            return names
    return []


def _nothing_readable(repository: Repository) -> str:
    if "adapter_config.json" in repository.files:
        return (
            "a LoRA adapter without its base model; build the checkpoint of the base model with "
            f"--adapter {repository.hub_id}"
        )
    if not repository.files:
        return "the repository is empty; check the name"
    found = [name for name in repository.files if _matches(PurePosixPath(name).name, _UNREADABLE)]
    if any(name.endswith(".gguf") for name in found):
        name = sorted(name for name in found if name.endswith(".gguf"))[0]
        return f"only GGUF files, {_shown(found)}; name the one to use, such as {repository.hub_id}:{name}"
    shown = f"only {_shown(found)}" if found else f"its files are {_shown(repository.files)}"
    return f"no weights that archc reads, {shown}; use a repository with safetensors or pytorch_model.bin"


def _read_shards(path: Path, repository: Repository) -> list[str]:
    """Return the shards of an index. Raises BuildError for a damaged index, and for a shard that does not exist."""
    try:
        shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BuildError(
            f"{repository.hub_id}: {path.name}: not a shard index with a weight_map: {error!r:.200}; "
            "use another revision"
        ) from None
    for shard in shards:
        if not isinstance(shard, str) or "/" in shard or shard not in repository.files:
            raise BuildError(
                f"{repository.hub_id}: {path.name} names the shard {shard!r:.100}, which the repository does not have; "
                "use another revision"
            )
    return shards


def _fetch(repository: Repository, names: Iterable[str], revision: str | None = None) -> Path:
    """Download files of a repository into the cache, of its commit or of a revision; return the folder.

    Raises BuildError if that fails.
    """
    from huggingface_hub import snapshot_download

    names = list(names)
    try:
        patterns = [glob.escape(name) for name in names]
        folder = Path(
            snapshot_download(
                repository.name,
                revision=revision or repository.commit,
                allow_patterns=patterns,
                etag_timeout=_TIMEOUT,
            )
        )
    except Exception as error:  # as above: no common class
        raise BuildError(f"{repository.hub_id}: {_explain(error, repository.commit)}") from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise BuildError(
            f"{repository.hub_id}: the download is incomplete, {_shown(missing)} not found; run the command again, "
            "which resumes it"
        )
    return folder


def _cached(hub_id: str, name: str, revision: str) -> Repository | None:
    """Return a repository as far as it is in the local cache, for use without a connection; None if it is not."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=["config.json"]))
    except Exception:  # there is no snapshot, and the caller reports why the hub was not reached
        return None
    files = {
        str(file.relative_to(folder).as_posix()): file.stat().st_size for file in folder.rglob("*") if file.is_file()
    }
    return Repository(hub_id, name, folder.name, folder.name, files)  # by the commit, which needs no connection


def _is_refusal(error: Exception) -> bool:
    """Return whether the hub answered and refused, as opposed to a connection that failed."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, HfHubHTTPError) and getattr(error.response, "status_code", 500) < 500


def _explain(error: Exception, revision: str) -> str:
    """Return the reason of a failed request, and what to do."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return "the repository is gated; accept its terms on the hub, and log in with `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no revision {revision!r}; check the name after @"
    if isinstance(error, RepositoryNotFoundError):
        return "no such folder, and no such repository on the hub, or no access to it; check the name, or log in"
    if isinstance(error, HFValidationError):
        return "not a valid hub id; give owner/name[@revision]"
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line for line in str(cause).splitlines() if line.strip()]
    reason = lines[0].strip() if lines else type(cause).__name__
    return (
        f"the download from the hub failed: {reason:.300}; check the connection and run the command again, which "
        "resumes the download"
    )


def _is_plain(name: str) -> bool:
    """Return whether a file name stays inside the folder of its repository."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _shown(names: Collection[Any]) -> str:
    """Return the first names of a list, as a message shows them."""
    first = [f"{name:.80}" for name in sorted(names)[:3]]
    return ", ".join(first) + (", …" if len(names) > len(first) else "")
