"""Further tables and token dropout against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.embedding import Embedding
from archc.compiler.modules.basic.features import FurtherTables, TokenDropout
from tests.compiler.modules.values import filled

TABLES = {"0.weight": [[1.0, 2.0], [3.0, 4.0]], "1.weight": [[5.0, 6.0], [7.0, 8.0]]}


def test_rows_of_tables_are_added_as_often_as_the_word_states() -> None:
    once = words.FurtherTables(rows=(2, 2))
    assert filled(FurtherTables(once, 2, torch.float32), TABLES)().tolist() == [6, 8]
    often = words.FurtherTables(rows=(2, 2), row=1, times=(2, 1))
    assert filled(FurtherTables(often, 2, torch.float32), TABLES)().tolist() == [13, 16]


def test_rows_with_widths_follow_the_token_before_the_projection() -> None:
    tables = words.FurtherTables(rows=(2,), row=1, widths=(1,))
    word = words.Embedding(vocab=2, width=2, tables=tables, projection=words.EmbeddingProjection(bias=True))
    values = {
        "tokens.weight": [[0.0, 0.0], [3.0, 1.0]],
        "tables.0.weight": [[9.0], [2.0]],
        "projection.weight": [[1.0, 0.0, 10.0], [0.0, 1.0, 100.0]],
        "projection.bias": [0.5, 0.25],
    }
    embedding = filled(Embedding(word, None, torch.float32), values)
    assert embedding(torch.tensor([[1, 0]]), None, None).tolist() == [[[23.5, 201.25], [20.5, 200.25]]]


def test_tokens_are_scaled_by_the_share_of_masks_in_their_own_row() -> None:
    dropout = TokenDropout(words.TokenDropout(token=7, keep=0.75))
    ids = torch.tensor([[7, 1, 1, 7], [1, 7, 7, 7]])
    # One mask of three tokens: 0.75 / (2 / 3). None of one token: 0.75.
    got = dropout(torch.ones(2, 4, 1), ids, torch.tensor([3, 1]))[:, :, 0]
    assert got[0, :3].tolist() == pytest.approx([0, 1.125, 1.125])
    assert got[1, 0].item() == pytest.approx(0.75)
