"""Checkpoints with random bytes changed: they are read, or refused by one error, in bounded time and memory."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from archc.compiler.weights.checkpoint.containers import open_weights, read_checkpoint_config
from tests.compiler.mutation import bounded_memory, mutated, refusal
from tests.compiler.weights.checkpoint.gguf_architectures import ARCHITECTURES, Type
from tests.compiler.weights.checkpoint.gguf_files import write
from tests.compiler.weights.checkpoint.pickles import BIN


def is_read(data: bytes, file: Path, checkpoint: Path) -> bool:
    """Return whether a file with this data is read; raise anything but an error that names it."""
    file.write_bytes(data)

    def read() -> None:
        read_checkpoint_config(checkpoint)
        weights = open_weights(checkpoint)
        for name in weights.names():
            if weights.bytes(name) < 2**20:
                weights.read(name)

    message = refusal(read)
    assert message is None or file.name in message
    return message is None


def pickled(folder: Path) -> tuple[Path, Path, list[bytes]]:
    """Files of torch.save in both forms, and the state of a training script."""
    base = torch.arange(12.0).reshape(3, 4)
    state = OrderedDict(a=base, b=base.t(), c=torch.nn.Parameter(base[0].clone()), d=torch.arange(3), e=base.half())
    values = ((state, True), (state, False), ({"model": state, "optimizer": {"lr": [1e-3, None]}, "step": 3}, True))
    files = []
    for value, form in values:
        torch.save(value, folder / BIN, _use_new_zipfile_serialization=form)
        files.append((folder / BIN).read_bytes())
    return folder / BIN, folder, files


def of_gguf(folder: Path) -> tuple[Path, Path, list[bytes]]:
    """GGUF files of one layer, plain and quantized."""
    path = folder / "model.gguf"
    files = []
    for kind in (Type.F32, Type.Q8_0):
        model = ARCHITECTURES[0].build(num_hidden_layers=1, intermediate_size=32, hidden_size=32)
        write(path, ARCHITECTURES[0], model, kind)
        # Most of the file is header.
        files.append(path.read_bytes())
    return path, path, files


@pytest.mark.parametrize(
    "count", [pytest.param(300, id="300"), pytest.param(10_000, id="10000", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("originals", [pickled, of_gguf], ids=["torch.save", "gguf"])
def test_only_clear_errors(
    originals: Callable[[Path], tuple[Path, Path, list[bytes]]], count: int, tmp_path: Path
) -> None:
    file, checkpoint, files = originals(tmp_path)
    random_numbers = random.Random(17)
    with bounded_memory():
        read = [is_read(mutated(random_numbers.choice(files), random_numbers), file, checkpoint) for _ in range(count)]
    assert 0 < sum(read) < count
