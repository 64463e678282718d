"""A convolution next to a layer against numbers worked out by hand."""

from __future__ import annotations

import torch

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.convolution import ConvolutionBranch
from tests.compiler.modules.values import column, filled


def test_each_token_reads_those_around_it_and_no_padding() -> None:
    word = words.LayerConvolution(kernel=3, activation="relu", norm=words.NoNorm())
    values = {"projection.weight": [[1.0, 10.0, 100.0]], "projection.bias": [-12.0]}
    branch = filled(ConvolutionBranch(word, 1, torch.float32), values)
    x, y = column(1, 2, 3), column(1000, 1000, 1000)
    # 10 + 200 − 12, 1 + 20 + 300 − 12, 2 + 30 − 12.
    assert branch(x, y, None).flatten().tolist() == [1198, 1309, 1020]
    # Without the third token: 10 + 200 − 12, 1 + 20 − 12.
    assert branch(x, y, column(1, 1, 0)).flatten().tolist()[:2] == [1198, 1009]
