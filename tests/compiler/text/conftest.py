"""Vocabularies trained on the mixture, as files."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers

from tests.compiler.text.strings import mixture


@pytest.fixture
def byte_level(tmp_path: Path) -> Path:
    """Return a folder with vocab.json and merges.txt of a byte-level BPE trained on the mixture."""
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(mixture(seed=1), vocab_size=1500, min_frequency=1, show_progress=False)
    trained.save_model(str(tmp_path))
    return tmp_path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Return a vocab.txt trained on the mixture."""
    trained = tokenizers.BertWordPieceTokenizer()
    trained.train_from_iterator(mixture(seed=1), vocab_size=900, min_frequency=1, show_progress=False)
    trained.save_model(str(tmp_path))
    path = tmp_path / "vocab.txt"
    path.write_text(path.read_text() + "##\u03c2\n\u03c2\n")
    return path
