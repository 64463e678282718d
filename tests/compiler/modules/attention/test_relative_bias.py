"""The bias of each bucket and head."""

from __future__ import annotations

import pytest
import torch

from archc.compiler.modules.attention.relative_bias import BiasTable


@pytest.mark.parametrize("count", [1, 3])
def test_a_bias_is_its_buckets_row(count: int) -> None:
    table = BiasTable(4, 2, torch.float32)
    table.weight.data = torch.arange(8.0).reshape(4, 2)
    buckets = torch.tensor([[[0, 3], [2, 1]]]).expand(count, 2, 2)
    assert table(buckets).tolist() == [[[[0, 6], [4, 2]], [[1, 7], [5, 3]]]] * count
