"""Options that a target does not have are refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.compiler.build import build
from archc.compiler.errors import BuildError

REFUSED = {
    "kv-int4": ({"kv": "int4"}, "--kv 'int4': choose int8"),
    "kv-of-onnx": ({"kv": "int8", "target": "onnx"}, "target 'onnx' has no --kv 'int8'"),
    "kv-float16": ({"kv": "int8", "dtype": "float16"}, "leave out --dtype float16"),
    "quantize-int2": ({"quantize": "int2"}, "no quantisation 'int2': choose int8 or int4"),
    "quantize-of-onnx": ({"quantize": "int8", "target": "onnx"}, "target 'onnx' has no quantisation 'int8'"),
    "quantize-float16": ({"quantize": "int8", "dtype": "float16"}, "leave out --dtype float16"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_an_option_that_a_target_does_not_have(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=message):
        build("llama", random=0, out=tmp_path / "p.plan", **options)
    assert not list(tmp_path.iterdir())
