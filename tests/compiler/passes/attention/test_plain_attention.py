from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.passes.attention.plain_attention import plain_attention
from tests.compiler.graphs import attention, attention_feeds, run


def test_the_precision_of_the_softmax_goes_and_the_rest_stays() -> None:
    feeds = attention_feeds(6, 2, 16, ir.DataType.BOOL)
    changed = attention(6, 2, 16, 0.7, ir.DataType.BOOL)
    wanted = run(changed, feeds)[0]
    assert plain_attention(changed) == 1
    (node,) = changed.graph
    assert set(node.attributes) == {"scale", "is_causal"}
    np.testing.assert_array_equal(run(changed, feeds)[0], wanted)
    assert plain_attention(changed) == 0
