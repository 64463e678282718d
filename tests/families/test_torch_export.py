"""torch.export as an independent witness of the tracer: every part of every family holds for all sizes from 2 up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from archc.archspec.source.catalog import shipped
from archc.compiler.contract.dtypes import torch_dtype
from archc.compiler.contract.types import SIZES, TensorType
from archc.compiler.modules.model import Model, meta_model
from archc.compiler.tracing.parts import Part
from archc.compiler.tracing.stages import cross_stages, stages_of
from archc.proof.built import Built
from archc.proof.case import Case
from tests.families.collection import cases_of

pytestmark = pytest.mark.slow

LARGEST = 4096
AXES = {axis: Dim(axis, min=1, max=LARGEST) for axis in SIZES}


class PartModule(nn.Module):
    """A part as a module, which torch.export needs."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.owner, self.function = part.owner, part.function

    def forward(self, tensors: Mapping[str, Tensor]) -> Sequence[Tensor]:
        return self.function(tensors)


def exported(part: Part) -> ExportedProgram:
    """Export a part with every named axis of its inputs dynamic; torch raises if a guard limits one of them."""
    tensors = {name: _example(kind) for name, kind in part.inputs.items()}
    axes = {
        name: {index: AXES[axis] for index, axis in enumerate(kind.shape) if isinstance(axis, str)}
        for name, kind in part.inputs.items()
    }
    return export(PartModule(part), (tensors,), dynamic_shapes=(axes,), strict=False)


def _example(kind: TensorType) -> Tensor:
    shape = [SIZES[axis][0] if isinstance(axis, str) else axis for axis in kind.shape]
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
        assert sizes_of_axes(exported(part)) == {(1, LARGEST)}


@pytest.mark.parametrize("limit", [16, 100])
def test_a_part_for_some_sizes_only_is_refused(limit: int) -> None:
    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        x = tensors["x"]
        return [x * 2 if x.shape[1] > limit else x]

    part = Part(nn.Module(), function, {"x": TensorType("float32", ("batch", "seq", 8))})
    with pytest.raises(Exception, match="Constraints violated"):
        exported(part)
