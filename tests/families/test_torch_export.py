"""torch.export as an independent witness of the tracer: every part of every family holds for all sizes from 2 up.

It takes an axis of size 1 for another case than a longer one. Calls with one block of tokens, whole or not, are such a
case of parts that work on blocks: these parts hold for all sizes from a block up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from archc.archspec.source.catalog import shipped
from archc.compiler.contract.dtypes import torch_dtype
from archc.compiler.contract.types import SIZES, TensorType, sizes_of
from archc.compiler.modules.model import Model, meta_model
from archc.compiler.tracing.parts import Part
from archc.compiler.tracing.stages import cross_stages, stages_of
from archc.plan.axes import block_axis
from archc.proof.built import Built
from archc.proof.case import Case
from tests.families.collection import cases_of

pytestmark = pytest.mark.slow

LARGEST = 4096


class PartModule(nn.Module):
    """A part as a module, which torch.export needs."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.owner, self.function = part.owner, part.function

    def forward(self, tensors: Mapping[str, Tensor]) -> Sequence[Tensor]:
        return self.function(tensors)


def exported(part: Part) -> ExportedProgram:
    """Export a part with every named axis of its inputs dynamic; torch raises if a guard limits one of them."""
    block = block_of(part)
    tensors = {name: _example(kind, block) for name, kind in part.inputs.items()}
    dims = {axis: Dim(axis, min=block if axis in ("seq", "total") else 1, max=LARGEST) for axis in (*SIZES, "blocks")}
    axes = {
        name: {index: dims.get(axis, dims["blocks"]) for index, axis in enumerate(kind.shape) if isinstance(axis, str)}
        for name, kind in part.inputs.items()
    }
    return export(PartModule(part), (tensors,), dynamic_shapes=(axes,), strict=False)


def block_of(part: Part) -> int:
    """Return the number of tokens in a block of a part with a cache of blocks; 1 for any other part."""
    axes = {axis for kind in part.inputs.values() for axis in kind.shape if isinstance(axis, str)}
    return next((block for block in range(2, LARGEST) if block_axis(block) in axes), 1)


def _example(kind: TensorType, block: int) -> Tensor:
    shape = [sizes_of(axis)[0] + block if isinstance(axis, str) else axis for axis in kind.shape]
    return torch.empty(shape, dtype=torch_dtype(kind.dtype), device="meta")


def parts_of(model: Model) -> list[Part]:
    """Return each distinct part of a model, its encoder's included."""
    stacks = [stages_of(model)]
    if model.encoder is not None:
        stacks.append([*stages_of(model.encoder), *cross_stages(model)])
    return [part for stages in stacks for part in {stage.kind: stage.part for stage in stages}.values()]


def sizes_of_axes(program: ExportedProgram) -> set[tuple[int, int]]:
    """Return the bounds of the sizes of the program's inputs, after all guards."""
    return {(int(bounds.lower), int(bounds.upper)) for bounds in program.range_constraints.values()}


@pytest.mark.parametrize(
    ("family", "case"),
    [pytest.param(family, case, id=f"{family}-{case.name}") for family in shipped() for case in cases_of(family)],
)
def test_every_part_holds_for_all_sizes(family: str, case: Case, tmp_path: Path) -> None:
    parts = parts_of(meta_model(Built(family, case, tmp_path).bound))
    assert len(parts) >= 3, "an embedding, a layer and an end"
    for part in parts:
        assert sizes_of_axes(exported(part)) == {(least, LARGEST) for least in (1, block_of(part))}


@pytest.mark.parametrize("limit", [16, 100])
def test_a_part_for_some_sizes_only_is_refused(limit: int) -> None:
    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        x = tensors["x"]
        return [x * 2 if x.shape[1] > limit else x]

    part = Part(nn.Module(), function, {"x": TensorType("float32", ("batch", "seq", 8))})
    with pytest.raises(Exception, match="Constraints violated"):
        exported(part)
