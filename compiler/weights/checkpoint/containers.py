"""The container of a checkpoint folder: its tensors, whichever format they lie in."""

from __future__ import annotations

import re
from pathlib import Path

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint import pickled, safetensors
from archc.compiler.weights.checkpoint.pickled import PickledWeights
from archc.compiler.weights.checkpoint.safetensors import SafetensorsWeights
from archc.compiler.weights.checkpoint.shards import read_headers, read_shards
from archc.compiler.weights.checkpoint.weights import Weights

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED_SINGLE, _PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_PICKLED = (".bin", ".pth", ".pt")
# Files of torch.save that a training script stores next to a model.
_TRAINING = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state.*|adapter_model)\.(bin|pth|pt)")


def open_weights(folder: Path) -> Weights:
    """Return the tensors of a checkpoint folder; no tensor is read yet.

    Raises BuildError if the folder has none, if files are damaged, or if files and index contradict each other.
    """
    if (folder / _INDEX).is_file():
        return SafetensorsWeights(read_shards(folder / _INDEX, (".safetensors",), safetensors.read_header))
    if (folder / _SINGLE).is_file():
        return SafetensorsWeights(read_headers([folder / _SINGLE], safetensors.read_header))
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return SafetensorsWeights(read_headers(files, safetensors.read_header))
    if files:
        raise BuildError(
            f"{folder}: {len(files)} safetensors files, but {_INDEX} not found; download it, or keep only the files "
            "of one model"
        )
    return _open_pickled(folder)


def _open_pickled(folder: Path) -> Weights:
    if (folder / _PICKLED_INDEX).is_file():
        return PickledWeights(read_shards(folder / _PICKLED_INDEX, _PICKLED, pickled.read_header))
    if (folder / _PICKLED_SINGLE).is_file():
        return PickledWeights(read_headers([folder / _PICKLED_SINGLE], pickled.read_header))
    files = sorted(file for file in folder.iterdir() if file.suffix in _PICKLED and not _TRAINING.fullmatch(file.name))
    if len(files) == 1:
        return PickledWeights(read_headers(files, pickled.read_header))
    if files:
        raise BuildError(
            f"{folder}: {len(files)} files {', '.join(file.name for file in files[:3])} …, but {_PICKLED_INDEX} not "
            "found; download it, or keep only the files of one model"
        )
    raise BuildError(
        f"{folder}: {_SINGLE} and {_INDEX} not found; give a checkpoint folder, or build with --random SEED"
    )
