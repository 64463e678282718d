from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import combinations, combinations_with_replacement

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import archc.compiler.tracing.tracer
from archc.compiler.contract.types import SIZES, TensorType
from archc.compiler.errors import TraceError
from archc.compiler.ops.operators import rotary
from archc.compiler.tracing.aten import ATEN
from archc.compiler.tracing.parts import Part, record
from archc.compiler.tracing.registry import TRANSLATIONS
from tests.compiler.graphs import operators, run

Function = Callable[[Mapping[str, Tensor]], Tensor]

INPUTS = {
    "x": TensorType(torch.float32, ("batch", "seq", 8)),
    "ids": TensorType(torch.int64, ("batch", "seq")),
    "mask": TensorType(torch.bool, ("batch", 1, "seq", "total")),
}
TABLE = torch.arange(12.0).reshape(4, 3)

CASES: Mapping[str, Function] = {
    "sum": lambda t: t["x"] + 2,
    "sum of integers and a fraction": lambda t: t["ids"] + 0.5,
    "weighted sum": lambda t: torch.add(t["x"], t["ids"][..., None], alpha=3),
    "difference": lambda t: t["x"] - t["ids"][..., None],
    "difference from a number": lambda t: 1 - t["x"],
    "product of truths and numbers": lambda t: t["mask"] * 2.0,
    "product with a size": lambda t: t["x"] * t["x"].shape[1],
    "quotient": lambda t: t["x"] / 3,
    "quotient of integers": lambda t: t["ids"] / 2,
    "power": lambda t: 2 ** t["x"],
    "square root of a square": lambda t: (t["x"] ** 2).sqrt(),
    "cube": lambda t: t["x"] ** 3,
    "negative": lambda t: -t["x"],
    "exponential": lambda t: t["x"].exp() + t["x"].expm1(),
    "logarithms": lambda t: (t["x"] ** 2 + 1).log() + (t["x"] ** 2 + 1).log2(),
    "trigonometry": lambda t: t["x"].sin() + t["x"].cos() + t["x"].tanh(),
    "activations": lambda t: functional.silu(t["x"]) + functional.relu(t["x"]) + t["x"].sigmoid(),
    "softplus": lambda t: functional.softplus(t["x"]),
    "gelu": lambda t: functional.gelu(t["x"]) + functional.gelu(t["x"], approximate="tanh"),
    "ceiling": lambda t: t["x"].ceil(),
    "clamp": lambda t: t["x"].clamp(-0.5, 0.25) + t["x"].clamp(max=0.1) + t["x"].clamp(min=-0.1),
    "softmax": lambda t: t["x"].softmax(-1),
    "softmax in float32": lambda t: t["x"].half().softmax(-1, dtype=torch.float32),
    "normalisation": lambda t: functional.layer_norm(t["x"], (8,), eps=1e-5),
    "total": lambda t: t["x"].sum((0, 2)) + t["x"].sum(-1, keepdim=True).amax((0, 2)),
    "any": lambda t: t["mask"].any(-1),
    "any of a kept axis": lambda t: (t["ids"] - 1).any(1, keepdim=True),
    "comparisons": lambda t: (t["ids"] >= 1).float() * (t["ids"] == 2),
    "comparisons of tensors": lambda t: (t["ids"] > t["x"].amax(-1)).float() + (t["ids"] == t["ids"]),
    "where": lambda t: torch.where(t["mask"], t["ids"][:, None, :, None], 0.5),
    "largest": lambda t: t["x"].topk(3).values,
    "places of the smallest": lambda t: t["x"].topk(2, dim=1, largest=False).indices,
    "gathered": lambda t: t["x"].gather(-1, t["ids"][..., None]),
    "looked up": lambda t: functional.embedding(t["ids"], TABLE),
    "indexed": lambda t: TABLE[t["ids"]] + TABLE[:, 0][t["ids"]][..., None],
    "indexed along a later axis": lambda t: TABLE[:, t["ids"][0] - t["ids"][0]],
    "slices": lambda t: t["x"][1:, :-1, ::2],
    "slice to its own size": lambda t: t["x"][:, : t["x"].shape[1]],
    "slice to a size": lambda t: t["x"].flatten(1)[:, t["x"].shape[1] :],
    "one place": lambda t: t["x"][:, -1] + t["x"].select(1, 0),
    "halves": lambda t: torch.cat(t["x"].chunk(2, dim=-1)[::-1], dim=-1),
    "parts": lambda t: torch.stack([part.sum(-1) for part in t["x"].split([1, 3, 4], dim=-1)], dim=1),
    "one part": lambda t: t["x"].split([8], dim=-1)[0],
    "joined in the wider type": lambda t: torch.cat((t["ids"][..., None], t["x"]), dim=-1),
    "three joined": lambda t: torch.cat((t["ids"], t["ids"].half(), t["x"][..., 0]), dim=1),
    "one joined": lambda t: torch.cat((t["x"],), dim=1),
    "order of axes": lambda t: t["x"].permute(2, 0, -2),
    "flattened": lambda t: t["x"].flatten(0, 1),
    "two rows": lambda t: t["x"].reshape(2, -1),
    "unflattened": lambda t: t["x"].unflatten(-1, (2, 4)).flatten(1, 2),
    "two sizes in one": lambda t: t["mask"].float().flatten(2),
    "half a size": lambda t: t["x"].flatten(1)[:, : t["x"].shape[1] * 8 // 2],
    "expanded": lambda t: t["x"][:1, :, None].expand(t["x"].shape[0], -1, 2, -1),
    "counted": lambda t: torch.arange(t["x"].shape[1], dtype=torch.float32) + torch.arange(1, t["x"].shape[1] * 2, 2),
    "cast": lambda t: t["x"].to(torch.int64) + t["mask"].long().amax((1, 2, 3))[:, None, None],
    "cast to what it is": lambda t: t["x"].to(torch.float32),
    "apart": lambda t: t["x"].detach() + torch.tensor([1.0, 2.0]).repeat(4),
    "itself": lambda t: t["x"],
}  # fmt: skip


def traced(function: Function) -> Part:
    return Part(nn.Module(), lambda tensors: [function(tensors)], INPUTS)


def given(batch: int, seq: int, total: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch + seq)
    return {
        "x": torch.randn(batch, seq, 8, generator=generator),
        "ids": torch.randint(0, 4, (batch, seq), generator=generator),
        "mask": torch.rand(batch, 1, seq, total, generator=generator) < 0.5,
    }


@pytest.mark.parametrize("name", CASES)
def test_a_translation_gives_what_torch_gives_for_every_size(name: str) -> None:
    model, _ = record(traced(CASES[name]))
    for sizes in ((2, 3, 5), (3, 5, 5), (2, 7, 9)):
        tensors = given(*sizes)
        wanted = CASES[name](tensors).numpy()
        read = {value.name for value in model.graph.inputs}
        (got,) = run(model, {key: tensor.numpy() for key, tensor in tensors.items() if key in read})
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def test_every_translation_of_torchs_operators_is_among_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set()

    class Watched(dict[Callable[..., object], Callable[..., object]]):
        def __getitem__(self, function: Callable[..., object]) -> Callable[..., object]:
            asked.add(function)
            return super().__getitem__(function)

    monkeypatch.setattr(archc.compiler.tracing.tracer, "TRANSLATIONS", Watched(TRANSLATIONS))
    for function in CASES.values():
        record(traced(function))
    assert not ATEN.keys() - asked


@pytest.mark.parametrize(
    "function",
    [
        lambda t: t["x"] + 1 if t["x"].shape[1] < t["mask"].shape[3] else t["x"],
        lambda t: t["x"] + 1 if t["x"].shape[1] < t["mask"].shape[3] else t["x"] * 2,
        lambda t: sum((t["x"][:, place] for place in range(t["x"].shape[1])), t["x"][:, 0]),
        lambda t: t["x"] * t["x"].shape[1] ** 0.5,
        lambda t: t["x"] * (t["x"].shape[1] % 7),
        lambda t: t["x"] + torch.tensor(t["x"].shape[1]),
        lambda t: t["x"].float() if t["x"].shape[1] < t["mask"].shape[3] else t["ids"],
    ],
)
def test_what_holds_for_some_sizes_only_is_refused(function: Function) -> None:
    with pytest.raises(TraceError, match="for some sizes only"):
        record(traced(function))


def test_the_runs_tell_products_of_axes_apart() -> None:
    chosen = [axes for count in (1, 2, 3) for axes in combinations_with_replacement(SIZES.values(), count)]
    products = [[math.prod(sizes[run] for sizes in axes) for run in range(3)] for axes in chosen]
    slopes = [Fraction(first - third, first - second) for first, second, third in products]
    assert len(set(slopes)) == len(slopes), "one product is a multiple of another and a rest"
    for one, other in combinations(SIZES.values(), 2):
        assert len({a < b for a, b in zip(one, other, strict=True)}) == 2, "one axis is the longer in every run"


def test_an_operator_without_a_translation_is_named() -> None:
    with pytest.raises(TraceError, match=r"aten\.logcumsumexp\.default has no translation"):
        record(traced(lambda t: t["x"].logcumsumexp(1)))


def test_what_changes_a_tensor_in_place_is_refused() -> None:
    with pytest.raises(TraceError, match=r"aten\.mul_"):
        record(traced(lambda t: (t["x"] + 1).mul_(2)))


def test_what_hangs_on_constants_alone_is_computed_while_tracing() -> None:
    model, _ = record(traced(lambda t: t["x"] + torch.arange(8).float().cos() ** 2))
    assert operators(model) == ["Add"]


def test_numbers_that_are_not_there_cannot_be_traced() -> None:
    outside = torch.zeros(8, device="meta")
    with pytest.raises(TraceError, match="without numbers"):
        record(traced(lambda t: outside))


def test_a_weight_is_an_input_by_its_name_however_often_it_is_read() -> None:
    owner = nn.ModuleDict({"turn": nn.Linear(8, 8, bias=False, device="meta")})
    weight = owner["turn"].get_parameter("weight")
    part = Part(owner, lambda t: [t["x"] * weight[0] + weight[1]], INPUTS)
    model, weights = record(part)
    (value,) = model.graph.inputs[len(INPUTS) :]
    assert weights == {value: "turn.weight"}
    numbers = torch.randn(8, 8)
    tensors = given(2, 3, 4)
    value.name = "weight"
    (got,) = run(model, {key: tensor.numpy() for key, tensor in {**tensors, "weight": numbers}.items()})
    np.testing.assert_allclose(got, (tensors["x"] * numbers[0] + numbers[1]).numpy(), rtol=1e-6)


def test_an_operator_of_our_own_is_one_node() -> None:
    def turned(t: Mapping[str, Tensor]) -> Tensor:
        angles = t["ids"][..., None] * torch.ones(4)
        return rotary(t["x"][:, None], angles.cos(), angles.sin(), False)

    assert operators(record(traced(turned))[0]).count("RotaryEmbedding") == 1
