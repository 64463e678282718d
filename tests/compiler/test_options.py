"""Build options: defaults, and one error for each combination that a target does not support."""

from __future__ import annotations

import pytest

from archc.compiler.errors import BuildError
from archc.compiler.options import choose_options
from archc.compiler.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_the_default_dtype_is_the_first_of_the_target(target: str) -> None:
    options = choose_options(target, None, None, None)
    assert (options.target, options.dtype) == (TARGETS[target], TARGETS[target].dtypes[0])
    assert (options.quantization, options.cache) == (None, None)


def test_all_options_of_the_cpu_together() -> None:
    options = choose_options("ort-cpu", "float32", "int4", "int8")
    assert (options.dtype, options.quantization, options.cache) == ("float32", "int4", "int8")


UNSUPPORTED = {
    "target": (
        ("abacus", None, None, None),
        "target 'abacus' is unknown; choose ort-cpu, ort-cuda, onnx, onnx-hf, tensorrt or tensorrt-rtx",
    ),
    "dtype": (
        ("ort-cpu", "bfloat16", None, None),
        "--dtype bfloat16 is not supported by target 'ort-cpu'; choose float32 or float16",
    ),
    "quantization": (
        ("ort-cpu", None, "int2", None),
        "--quantize int2 is not supported by target 'ort-cpu'; choose int8 or int4",
    ),
    "quantization-of-a-target-without": (
        ("onnx", None, "int8", None),
        "--quantize int8 is not supported by target 'onnx'; remove --quantize",
    ),
    "quantization-and-dtype": (
        ("ort-cpu", "float16", "int8", None),
        "--quantize int8 requires float32 activations; remove --dtype float16",
    ),
    "cache": (
        ("ort-cpu", None, None, "int4"),
        "--kv int4 is not supported by target 'ort-cpu'; choose int8",
    ),
    "cache-of-a-target-without": (
        ("onnx", None, None, "int8"),
        "--kv int8 is not supported by target 'onnx'; remove --kv",
    ),
    "cache-and-dtype": (
        ("ort-cpu", "float16", None, "int8"),
        "--kv int8 requires float32 activations; remove --dtype float16",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_unsupported_options(case: str) -> None:
    names, message = UNSUPPORTED[case]
    with pytest.raises(BuildError) as caught:
        choose_options(*names)
    assert str(caught.value) == message
