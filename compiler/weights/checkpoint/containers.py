"""The container of a checkpoint folder: its tensors, whichever format they lie in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.folder import GGUF, WEIGHTS, read_folder_config
from archc.compiler.weights.checkpoint.gguf.tensors import GgufWeights, gguf_config
from archc.compiler.weights.checkpoint.other_formats import refuse_other_configs, refuse_other_formats
from archc.compiler.weights.checkpoint.params import PARAMS, RenamedWeights, join_parts, params_config, params_overrides
from archc.compiler.weights.checkpoint.pickled.tensors import PickledWeights, read_pickled
from archc.compiler.weights.checkpoint.safetensors import SafetensorsWeights, read_safetensors
from archc.compiler.weights.checkpoint.shards import read_headers, read_shards
from archc.compiler.weights.checkpoint.weights import Weights

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED_SINGLE, _PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_PICKLED = WEIGHTS[1:]
# Files next to a model that are not its weights: a LoRA adapter, and the state of a training script.
_BESIDES = re.compile(r"(adapter_model|training_args|optimizer|scheduler|scaler|rng_state.*)\.(safetensors|bin|pth|pt)")


def has_weights(checkpoint: Path) -> bool:
    """Return whether a checkpoint has a file of weights, readable or not."""
    return checkpoint.is_file() or bool(_weight_files(checkpoint, WEIGHTS))


def has_config(checkpoint: Path) -> bool:
    """Return whether a checkpoint's config is complete without the shapes of its tensors."""
    return checkpoint.suffix == GGUF or (checkpoint / "config.json").is_file()


def read_checkpoint_config(checkpoint: Path) -> dict[str, Any] | None:
    """Return config.json of a checkpoint folder, or what a GGUF file has in its place; None if there is none.

    A file of weights has none: no other file describes it. Raises ConfigError for a damaged file, and BuildError for
    settings in a form that is not supported.
    """
    if checkpoint.suffix == GGUF and checkpoint.is_file():
        return gguf_config(checkpoint)
    if checkpoint.is_file():
        return None
    config = read_folder_config(checkpoint)
    if config is not None:
        return config
    if files := _consolidated(checkpoint):
        return params_config(checkpoint, join_parts(checkpoint, [_open_file(file) for file in files]))
    refuse_other_configs(checkpoint)
    return None


def own_overrides(checkpoint: Path) -> tuple[str, ...]:
    """Return what a folder with params.json in place of config.json adds to its spec, in the form of `--set`."""
    if not checkpoint.is_dir() or read_folder_config(checkpoint) is not None or not _consolidated(checkpoint):
        return ()
    return params_overrides(checkpoint)


def open_weights(folder: Path) -> Weights:
    """Return the tensors of a checkpoint folder, a GGUF file or a file of weights; no tensor is read yet.

    In a folder, safetensors files are preferred to pickled ones.

    Raises BuildError if the folder has none, if files are damaged, or if files and index contradict each other.
    """
    if folder.suffix == GGUF and folder.is_file():
        return GgufWeights(folder)
    if folder.is_file():
        return _open_file(folder)
    if files := _consolidated(folder):
        return RenamedWeights(folder, join_parts(folder, [_open_file(file) for file in files]))
    safetensors, pickled = _weight_files(folder, (".safetensors",)), _weight_files(folder, _PICKLED)
    if (folder / _INDEX).is_file():
        return SafetensorsWeights(read_shards(folder / _INDEX, (".safetensors",), read_safetensors))
    if safetensors:
        return _open_file(_only_file(folder, _SINGLE, _INDEX, safetensors))
    if (folder / _PICKLED_INDEX).is_file():
        return PickledWeights(read_shards(folder / _PICKLED_INDEX, _PICKLED, read_pickled))
    if pickled:
        return _open_file(_only_file(folder, _PICKLED_SINGLE, _PICKLED_INDEX, pickled))
    refuse_other_formats(folder)
    raise BuildError(
        f"{folder}: no weights: {_SINGLE} and {_INDEX} not found; give the folder of a checkpoint, or for random "
        "weights `archc build SPEC --random SEED`"
    )


def _consolidated(folder: Path) -> list[Path]:
    """Return the files of weights of a folder with params.json, if it is in that form; none for any other folder.

    Several files have a part of every tensor each, in their order. Raises BuildError if one of them is missing.
    """
    if not (folder / PARAMS).is_file() or (folder / _INDEX).is_file():
        return []
    files = _weight_files(folder, WEIGHTS)
    if not files or not all(file.name.startswith("consolidated") for file in files):
        return []
    safetensors = [file for file in files if file.suffix == ".safetensors"]
    if len(safetensors or files) == 1:
        return safetensors or files
    for number, file in enumerate(files):
        expected = f"consolidated.{number:02}{files[0].suffix}"
        if file.name != expected:
            raise BuildError(f"{folder / expected}: not found, but {file.name} is there; download the folder again")
    return files


def _open_file(file: Path) -> Weights:
    if not file.is_file():
        raise BuildError(f"{file}: not a regular file; put a file of weights in its place")
    if file.suffix == ".safetensors":
        return SafetensorsWeights(read_headers([file], read_safetensors))
    return PickledWeights(read_headers([file], read_pickled))


def _weight_files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in endings and not _BESIDES.fullmatch(file.name))


def _only_file(folder: Path, single: str, index: str, files: list[Path]) -> Path:
    """Return the file with the usual name, or the only one. Raises BuildError for several without an index."""
    if (folder / single).is_file():
        return folder / single
    if len(files) == 1:
        return files[0]
    names = ", ".join([*(file.name for file in files[:3]), *("…" for _ in files[3:4])])
    raise BuildError(
        f"{folder}: {len(files)} {files[0].suffix[1:]} files ({names}), but {index} not found; "
        "download it, keep only the files of one model, or give one file itself"
    )
