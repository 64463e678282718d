"""Fixtures of the tests of plan and runtime: tiny plans on disk, and their engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archc import runtime
from tests.runtime.tiny import Tiny, rewritten


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    """Return the builder of tiny plans."""
    return Tiny()


@pytest.fixture
def plan(tiny: Tiny, tmp_path: Path) -> Path:
    """Return a decoder's plan of the test's own."""
    return tiny.write(tmp_path / "engine.plan", with_tokenizer=False)


@pytest.fixture(scope="session")
def decoder_path(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a decoder's plan; not to be changed."""
    return tiny.write(tmp_path_factory.mktemp("decoder") / "engine.plan")


@pytest.fixture(scope="session")
def encoder_path(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an encoder's plan; not to be changed."""
    return tiny.write(tmp_path_factory.mktemp("encoder") / "engine.plan", encoder=True)


@pytest.fixture(scope="session")
def decoder(decoder_path: Path) -> Iterator[Any]:
    """Return a loaded decoder."""
    yield from loaded(decoder_path)


@pytest.fixture(scope="session")
def encoder(encoder_path: Path) -> Iterator[Any]:
    """Return a loaded encoder."""
    yield from loaded(encoder_path)


@pytest.fixture(scope="session")
def answering_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an encoder-decoder's plan, compiled with random weights; not to be changed."""
    from archc.compiler.build import build

    folder = tmp_path_factory.mktemp("answering")
    sizes = {"vocab_size": 60, "d_model": 24, "d_kv": 6, "d_ff": 32, "num_layers": 2, "num_heads": 4}
    sizes |= {"n_positions": 200, "relative_attention_max_distance": 20}
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "decoder_start_token_id": 7, **sizes}))
    overrides = [f"{name}={value}" for name, value in sizes.items()]
    plan: Path = build("t5", out=folder / "made.plan", random=1, overrides=overrides)

    def begin(manifest: dict[str, Any]) -> None:
        manifest["tokens"] |= {"start": [7], "never": [5], "eos": [1]}
        manifest["generation"] = None  # as in plans of former versions, whose excluded tokens are those of `never`

    return rewritten(plan, folder / "engine.plan", lambda graphs, manifest: begin(manifest))


@pytest.fixture(scope="session")
def answering(answering_path: Path) -> Iterator[Any]:
    """Return a loaded encoder-decoder."""
    yield from loaded(answering_path)


def loaded(plan: Path) -> Iterator[Any]:
    """Give a plan's engine, and close it afterwards."""
    engine = runtime.load(plan, threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def rewrite() -> Callable[..., Path]:
    """Return `rewritten`."""
    return rewritten
