"""The container of a checkpoint folder: its tensors, whichever format they lie in."""

from __future__ import annotations

from pathlib import Path

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint import safetensors
from archc.compiler.weights.checkpoint.safetensors import SafetensorsWeights
from archc.compiler.weights.checkpoint.shards import read_headers, read_shards
from archc.compiler.weights.checkpoint.weights import Weights

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


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
    pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pth"), *folder.glob("*.pt")])
    if pickled:
        raise BuildError(
            f"{folder}: only pickled weights ({pickled[0].name}), which archc never opens; "
            "convert them to safetensors in an environment that trusts them"
        )
    raise BuildError(
        f"{folder}: {_SINGLE} and {_INDEX} not found; give a checkpoint folder, or build with --random SEED"
    )
