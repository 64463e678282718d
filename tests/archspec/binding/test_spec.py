from __future__ import annotations

import pytest

from archc.archspec import ConfigError
from tests.archspec.samples import Load


def test_named_sizes(load: Load) -> None:
    spec = load("sizes:\n  small: {hidden_size: 32, rope_scaling: {type: linear, factor: 2.0}}\n")
    assert spec.bind(size="small").embedding.width == 32
    with pytest.raises(ConfigError, match="sizes: size 'smal' not found; did you mean 'small'"):
        spec.bind(size="smal")
    with pytest.raises(ConfigError, match="a config and the size 'small' cannot be combined; pass one of them"):
        spec.bind({}, size="small")
