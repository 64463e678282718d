"""Plans and checkpoints shared by the tests of the command line; each is built once a session."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archc.cli.app import main

TINY = Path(__file__).parent.parent.parent / "examples" / "tiny-qwen2"
SMALL = ["d_model=32", "num_heads=2", "d_ff=48", "vocab_size=60", "num_layers=2", "context_length=40"]
SMALL_BERT = [
    "hidden_size=32",
    "num_attention_heads=2",
    "intermediate_size=48",
    "vocab_size=60",
    "num_hidden_layers=2",
    "max_position_embeddings=40",
]


def sets(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        """The lines of stderr after `archc: error: `; fails on a traceback."""
        assert "Traceback" not in self.err
        return [line.removeprefix("archc: error: ") for line in self.err.splitlines() if "archc: error: " in line]


Archc = Callable[..., Result]


@pytest.fixture
def archc(capsys: pytest.CaptureFixture[str]) -> Archc:
    """Return a function that runs one command line in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


def _built(folder: Path, *arguments: object) -> Path:
    plan = folder / "engine.plan"
    assert main(["build", *map(str, arguments), "-o", str(plan)]) == 0
    return plan


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a plan without a tokenizer."""
    return _built(tmp_path_factory.mktemp("small"), "small-lm", "--random", 0, *sets(SMALL))


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an encoder's plan."""
    return _built(tmp_path_factory.mktemp("bert"), "bert", "--random", 0, *sets(SMALL_BERT))


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plan of the trained example, with its tokenizer and chat template."""
    return _built(tmp_path_factory.mktemp("qwen"), TINY)


@pytest.fixture(scope="session")
def hot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the example's checkpoint with an MLP that overflows float16."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("hot") / "checkpoint"
    shutil.copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name] = tensors[name] * 2.0**15
    save_file(tensors, folder / "model.safetensors")
    return folder
