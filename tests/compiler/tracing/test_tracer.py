"""The tracer's soundness: a component is recorded for all sizes, or refused."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archc.compiler.errors import TraceError
from archc.compiler.ops.operators import rotary
from archc.compiler.tracing.parts import Part, record
from tests.compiler.graphs import operators, run
from tests.compiler.tracing.recorded import INPUTS, Function, assert_same_as_torch, example, recorded

# Sizes of batch, seq and total: small ones, one token, many tokens.
SIZES = ((2, 3, 5), (1, 1, 4), (2, 130, 140))


def ceil_of(size: int, divisor: int) -> int:
    return -(-size // divisor)


def changed_in_place(t: Mapping[str, Tensor]) -> Tensor:
    constant = torch.ones(8)
    y = t["x"] + constant
    constant.mul_(2)
    return y + constant


def written_to(t: Mapping[str, Tensor]) -> Tensor:
    constant = torch.zeros(8)
    constant[0] = 1
    return t["x"] + constant


def written_as_a_result(t: Mapping[str, Tensor]) -> Tensor:
    constant = torch.zeros(8)
    torch.add(constant, 1, out=constant)
    return t["x"] + constant


DIFFERS = "the trace holds for some sizes only: "
OPERATORS = DIFFERS + "control flow depends on tensor sizes"
NUMBER = DIFFERS + "the number of operators"
ARGUMENTS = DIFFERS + "the arguments"
NO_FORMULA = r"cannot express the size \(.*\) \(one value per run\) in terms of batch, seq, total"
IN_PLACE = "in-place operators are not supported"
RANDOM = "a constant has other numbers in each run"

UNSOUND: Mapping[str, tuple[Function, str]] = {
    "a branch on a long call": (lambda t: t["x"] * 2 if t["x"].shape[1] > 100 else t["x"], NUMBER),
    "a branch on one token": (lambda t: t["x"] * 2 if t["x"].shape[1] == 1 else t["x"], NUMBER),
    "a branch on two axes": (lambda t: t["x"] + 1 if t["x"].shape[1] < t["mask"].shape[3] else t["x"], NUMBER),
    "a branch between operators": (
        lambda t: t["x"] + 1 if t["x"].shape[1] < t["mask"].shape[3] else t["x"] * 2,
        OPERATORS,
    ),
    "a branch between results": (
        lambda t: t["x"] if t["x"].shape[1] < t["mask"].shape[3] else t["ids"],
        DIFFERS + "the tensors",
    ),
    "a branch between kinds of arguments": (
        lambda t: t["x"].clamp(0 if t["x"].shape[1] > 1 else None, 1),
        DIFFERS + "the types of arguments",
    ),
    "a loop over positions": (lambda t: sum((t["x"][:, i] for i in range(t["x"].shape[1])), t["x"][:, 0]), NUMBER),
    "a slice up to a limit": (lambda t: t["x"][:, : min(t["x"].shape[1], 16)], OPERATORS),
    "a narrowing to a limit": (lambda t: t["x"].narrow(1, 0, min(t["x"].shape[1], 16)), NO_FORMULA),
    "a range up to a limit": (lambda t: torch.arange(min(t["x"].shape[1], 16)), NO_FORMULA),
    "the longer of two axes": (lambda t: t["ids"] * max(t["x"].shape[1], t["mask"].shape[3]), NO_FORMULA),
    "a number of blocks": (lambda t: t["x"].sum(1) * ceil_of(t["x"].shape[1], 64), NO_FORMULA),
    "a root of a size": (lambda t: t["x"] * t["x"].shape[1] ** 0.5, ARGUMENTS),
    "a rest of a size": (lambda t: t["x"] * (t["x"].shape[1] % 7), NO_FORMULA),
    "a tensor of a size": (lambda t: t["x"] + torch.tensor(t["x"].shape[1]), RANDOM),
    "more tokens than there may be": (
        lambda t: t["x"].topk(2, dim=1).values,
        "does not run at the sizes batch 131, seq 1, .*: selected index k out of range",
    ),
    "a constant that changes in place": (changed_in_place, r"aten\.mul_\.Tensor: " + IN_PLACE),
    "a constant that is written to": (written_to, IN_PLACE),
    "a constant as the place of a result": (written_as_a_result, r"aten\.add\.out: " + IN_PLACE),
    "an input that changes in place": (lambda t: t["x"].mul_(2), IN_PLACE),
    "a result that changes in place": (lambda t: (t["x"] + 1).mul_(2), IN_PLACE),
    "a boolean index": (lambda t: t["mask"][t["mask"]], r"aten\.index\.Tensor.*got BOOL"),
    "an item": (lambda t: t["x"] * t["x"][0, 0, 0].item(), r"aten\._local_scalar_dense\.default has no translation"),
    "a branch on an item": (lambda t: t["x"] if t["mask"].any() else t["x"] * 2, r"aten\.any\.default has no trans"),
    "random numbers of torch": (lambda t: t["x"] + torch.rand(8), RANDOM),
    "random numbers like a tensor": (lambda t: t["x"] + torch.rand_like(t["x"]), r"aten\.rand_like\.default has no"),
    "random numbers of Python": (lambda t: t["x"] * random.random(), ARGUMENTS),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_component_that_a_trace_would_miscompile_is_refused(name: str) -> None:
    function, message = UNSOUND[name]
    with pytest.raises(TraceError, match=message):
        recorded(function)


SOUND: Mapping[str, Function] = {
    "a slice by a size": lambda t: t["x"].flatten(1)[:, t["x"].shape[1] :],
    "half a product": lambda t: t["x"].flatten(1)[:, : t["x"].shape[1] * 8 // 2],
    "three more than a size": lambda t: torch.arange(t["x"].shape[1] * 2 + 3),
    "a square": lambda t: torch.arange(t["x"].shape[1] ** 2),
    "the last position": lambda t: t["x"][:, -1],
    "all positions but the last": lambda t: t["x"][:, :-1],
    "a constant that is not finite": lambda t: t["x"] + torch.tensor([torch.inf, torch.nan] * 4),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_component_that_holds_for_all_sizes_is_recorded(name: str) -> None:
    model = recorded(SOUND[name])
    for sizes in SIZES:
        assert_same_as_torch(SOUND[name], model, sizes)


def test_constants_are_folded() -> None:
    assert operators(recorded(lambda t: t["x"] + torch.arange(8).float().cos() ** 2)) == ["Add"]


def test_a_meta_tensor_from_outside_cannot_be_traced() -> None:
    outside = torch.zeros(8, device="meta")
    with pytest.raises(TraceError, match="neither an input nor a parameter"):
        recorded(lambda t: outside)


def test_a_weight_is_one_input_with_its_name_however_often_it_is_read() -> None:
    owner = nn.ModuleDict({"turn": nn.Linear(8, 8, bias=False, device="meta")})
    weight = owner["turn"].get_parameter("weight")
    part = Part(owner, lambda t: [t["x"] * weight[0] + weight[1]], INPUTS)
    model, weights = record(part)
    (value,) = model.graph.inputs[len(INPUTS) :]
    assert weights == {value: "turn.weight"}
    numbers = torch.randn(8, 8)
    tensors = example(2, 3, 4)
    value.name = "weight"
    (actual,) = run(model, {name: tensor.numpy() for name, tensor in {**tensors, "weight": numbers}.items()})
    np.testing.assert_allclose(actual, (tensors["x"] * numbers[0] + numbers[1]).numpy(), rtol=1e-6)


def test_a_custom_operator_is_one_node() -> None:
    def turned(t: Mapping[str, Tensor]) -> Tensor:
        angles = t["ids"][..., None] * torch.ones(4)
        return rotary(t["x"][:, None], angles.cos(), angles.sin(), False)

    assert operators(recorded(turned)).count("RotaryEmbedding") == 1
