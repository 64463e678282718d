"""Generation past the trained length of LongRoPE: equal to transformers' generate, which reads everything again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

import archc
from archc.proof.from_transformers import FromTransformers
from tests.reference.phi3 import PLAIN, phi3

TRAINED, LIMIT, NEW = 24, 96, 40
PROMPTS = [[*range(20, 40)], [7, 9, 11], [*range(50, 73)], [*range(80, 110)]]


@pytest.fixture(scope="module")
def reference() -> FromTransformers:
    """Return a tiny Phi-3 that was trained on 24 tokens."""
    rope = {
        **PLAIN,
        "rope_type": "longrope",
        "long_factor": [1.3 + 1.7 * pair for pair in range(5)],
        "short_factor": [1.1 + 0.3 * pair for pair in range(5)],
    }
    sizes = {"max_position_embeddings": LIMIT, "original_max_position_embeddings": TRAINED}
    return phi3(4, rope_parameters=rope, **sizes)


@pytest.fixture(scope="module")
def engine(reference: FromTransformers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[archc.Engine]:
    """Return its plan, loaded."""
    folder: Path = tmp_path_factory.mktemp("phi3")
    reference.save(folder / "checkpoint")
    loaded = archc.load(archc.build(folder / "checkpoint", out=folder / "engine.plan"), threads=1)
    yield loaded
    loaded.close()


@pytest.mark.parametrize("beams", [1, 3], ids=["greedy", "beams"])
def test_tokens_past_the_trained_length_equal_those_of_transformers(
    reference: FromTransformers, engine: archc.Engine, beams: int
) -> None:
    assert engine.manifest.limits.reread_past == TRAINED
    rows = engine.generate(PROMPTS, NEW, num_beams=beams, ignore_eos=True, defaults=False)
    reference.model.generation_config = GenerationConfig(max_new_tokens=NEW, num_beams=beams, pad_token_id=0)
    for ids, row in zip(PROMPTS, rows, strict=True):
        with torch.no_grad():
            (tokens,) = reference.model.generate(torch.tensor([ids])).tolist()
        assert row == tokens[len(ids) :]
