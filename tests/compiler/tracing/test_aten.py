"""Translations of torch's operators: every one of them in a case that ONNX Runtime and torch compute alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch.nn import functional

import archc.compiler.tracing.tracer
from archc.compiler.errors import TraceError
from archc.compiler.tracing.aten import ATEN
from archc.compiler.tracing.registry import TRANSLATIONS
from tests.compiler.tracing.recorded import Function, assert_same_as_torch, recorded

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
    "rounded quotient of integers": lambda t: torch.div(t["ids"] + 7, 3, rounding_mode="trunc"),
    "power": lambda t: 2 ** t["x"],
    "square root of a square": lambda t: (t["x"] ** 2).sqrt(),
    "cube": lambda t: t["x"] ** 3,
    "negative": lambda t: -t["x"],
    "ones": lambda t: torch.ones_like(t["x"]) + t["x"],
    "products of batches": lambda t: torch.bmm(t["x"], t["x"].permute(0, 2, 1)),
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
    "places of the smallest": lambda t: t["x"].permute(0, 2, 1).topk(2, dim=1, largest=False).indices,
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
    "expanded": lambda t: t["x"].narrow(0, 0, 1)[:, :, None].expand(t["x"].shape[0], -1, 2, -1),
    "counted": lambda t: torch.arange(t["x"].shape[1], dtype=torch.float32) + torch.arange(1, t["x"].shape[1] * 2, 2),
    "cast": lambda t: t["x"].to(torch.int64) + t["mask"].long().amax((1, 2, 3))[:, None, None],
    "cast to what it is": lambda t: t["x"].to(torch.float32),
    "apart": lambda t: t["x"].detach() + torch.tensor([1.0, 2.0]).repeat(4),
    "zeros of a shape": lambda t: t["ids"].new_zeros(t["x"].shape[1], 2) + t["x"].new_zeros(3, 1, 1).half(),
    "zeros like a tensor": lambda t: torch.zeros_like(t["ids"]) + torch.zeros_like(t["mask"][:, 0, :, 0]),
    "itself": lambda t: t["x"],
}


# Sizes of batch, seq and total; none of them is one of the tracer's runs.
SIZES = ((2, 3, 5), (3, 5, 5), (2, 7, 9), (1, 1, 3))


@pytest.mark.parametrize("name", CASES)
def test_a_translation_computes_what_torch_does_for_every_size(name: str) -> None:
    model = recorded(CASES[name])
    for sizes in SIZES:
        assert_same_as_torch(CASES[name], model, sizes)


def test_every_translation_of_torchs_operators_is_among_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    translated = set()

    class Watched(dict[Callable[..., object], Callable[..., object]]):
        def __getitem__(self, function: Callable[..., object]) -> Callable[..., object]:
            translated.add(function)
            return super().__getitem__(function)

    monkeypatch.setattr(archc.compiler.tracing.tracer, "TRANSLATIONS", Watched(TRANSLATIONS))
    for function in CASES.values():
        recorded(function)
    assert not ATEN.keys() - translated


UNHANDLED: Mapping[str, tuple[Function, str]] = {
    "a softplus with a beta": (lambda t: functional.softplus(t["x"], beta=2), "aten.softplus.default"),
    "a difference with a factor": (lambda t: torch.rsub(t["x"], 1, alpha=2), "aten.rsub.Scalar"),
    "a boolean index": (lambda t: t["mask"][t["mask"]], "aten.index.Tensor.*got BOOL"),
    "a boolean index of one axis": (lambda t: t["x"][:, :, torch.arange(8) > 3], "aten.index.Tensor.*got BOOL"),
    "two indices": (lambda t: t["x"][t["ids"], t["ids"]], "aten.index.Tensor.*expected one index tensor, got 2"),
    "a range of fractions": (lambda t: torch.arange(0.5, t["x"].shape[1], 1), "aten.arange.start_step"),
    "a clamp by a size": (lambda t: t["x"].clamp(max=t["x"].shape[1]), "aten.clamp.default"),
}


@pytest.mark.parametrize("name", UNHANDLED)
def test_arguments_that_a_translation_does_not_handle_are_an_error_with_the_operators_name(name: str) -> None:
    function, message = UNHANDLED[name]
    with pytest.raises(TraceError, match=message):
        recorded(function)


def test_an_operator_without_a_translation_is_named() -> None:
    with pytest.raises(TraceError, match=r"aten\.logcumsumexp\.default has no translation"):
        recorded(lambda t: t["x"].logcumsumexp(1))
