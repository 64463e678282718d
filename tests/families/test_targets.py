"""Builds for GPU targets, checked without a GPU, of the families of `covering`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from archc.archspec.source.catalog import shipped
from archc.proof.built import Built, use_one_thread
from archc.proof.checks import TOLERANCE
from tests.families import targets, targets_table
from tests.families.collection import cases_of
from tests.families.covering import covering
from tests.families.cuda_kernels import check_kernels


@pytest.fixture(scope="module", params=covering())
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    use_one_thread()
    case = Built(request.param, cases_of(request.param)[0], tmp_path_factory.mktemp(request.param))
    yield case
    case.close()


def test_engine(built: Built) -> None:
    result = targets.check_engine(built)
    assert result.bytes > 2**20, "an engine contains kernels"


def test_passes_for_tensorrt(built: Built) -> None:
    assert targets.check_tensorrt_passes(built) < TOLERANCE


def test_cuda_kernels(built: Built) -> None:
    targets.check_cuda(built)


def test_float16(built: Built) -> None:
    targets.check_rules(built)
    targets.check_float16(built)


@pytest.mark.parametrize("family", shipped())
def test_every_family_is_in_the_table(family: str) -> None:
    text = targets_table.OUT.read_text("utf-8")
    assert re.search(rf"^\| {re.escape(family)} \|.*$", text, re.MULTILINE), (
        f"build it: python -m tests.families.targets_table {family}"
    )
    assert "**fails**" not in text


def test_a_node_without_a_kernel_is_an_error() -> None:
    def ceil(kind: int) -> bytes:
        x, y = (helper.make_tensor_value_info(name, kind, [2]) for name in "xy")
        graph = helper.make_graph([helper.make_node("Ceil", ["x"], ["y"])], "one", [x], [y])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)]).SerializeToString()

    check_kernels(ceil(TensorProto.FLOAT16))
    with pytest.raises(AssertionError, match=re.escape("no CUDA kernel: Ceil(bfloat16)")):
        check_kernels(ceil(TensorProto.BFLOAT16))


def test_nodes_in_the_body_of_a_scan_are_checked() -> None:
    item, doubled = (helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [2]) for name in ("item", "doubled"))
    body = helper.make_graph([helper.make_node("Log", ["item"], ["doubled"])], "body", [item], [doubled])
    x, y = (helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [3, 2]) for name in "xy")
    scan = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
    model = helper.make_model(
        helper.make_graph([scan], "loop", [x], [y]), opset_imports=[onnx.helper.make_opsetid("", 24)]
    )
    with pytest.raises(AssertionError, match=re.escape("no CUDA kernel: Log(bfloat16)")):
        check_kernels(model.SerializeToString())


def test_errors_are_relative_to_the_largest_number() -> None:
    assert targets.relative_error(np.array([1.0, 10.5]), np.array([1.0, 10.0])) == pytest.approx(0.05)
    assert targets.relative_error(np.array([np.nan]), np.array([1.0])) == float("inf")
