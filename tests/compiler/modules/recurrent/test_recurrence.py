"""Every recurrent mixer in float16: its state is what the contract declares, and numbers add up in float32."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from archc.archspec import vocabulary as words
from archc.compiler.contract.dtypes import torch_dtype
from archc.compiler.contract.state import recurrence_state
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.recurrent.delta_rule import VALUES
from archc.compiler.modules.recurrent.recurrence import make_recurrence
from tests.compiler.modules.values import random_parameters

WIDTH, BATCH, SEQ = 6, 2, 3
NORM = words.HeadNorm(eps=1e-5)
SHIFT = words.StaticShift(weighs="current")
WORDS: Mapping[str, words.Recurrence] = {
    "decayed average": words.DecayedAverage(width=4),
    "linear attention": words.LinearAttention(
        heads=2, head_dim=4, shift=words.DynamicShift(rank=2), decay=words.LowRankDecay(rank=2), norm=NORM
    ),
    "linear attention with a learned decay": words.LinearAttention(
        heads=2, head_dim=4, shift=SHIFT, decay=words.LearnedDecay(), norm=NORM
    ),
    "delta rule": words.DeltaRule(
        heads=2,
        head_dim=4,
        shift=SHIFT,
        decay_rank=2,
        rate_rank=2,
        gate_rank=2,
        value_residual=words.ValueSource(),
        norm=NORM,
    ),
    "gated delta net": words.MatrixState(
        heads=4,
        key_heads=2,
        key_dim=3,
        value_dim=2,
        update="delta",
        convolution=words.Convolution(kernel=4),
        activation="silu",
        qk_norm=words.L2Norm(eps=1e-6),
        decay=words.StepDecay(),
        norm=words.OutputNorm(eps=1e-5, groups=4, weights="shared"),
        gate=words.OutputGate(),
    ),
    "delta net with a decay by channel": words.MatrixState(
        heads=2,
        key_dim=3,
        value_dim=4,
        update="delta",
        rate_scale=2.0,
        convolution=words.Convolution(kernel=2, bias=True),
        qk_norm=words.RmsNorm(eps=1e-5),
        scale=0.5,
        decay=words.StepDecay(over="channels", rank=2),
        gate=words.OutputGate(activation="sigmoid", rank=3),
    ),
    "delta net with a bounded decay": words.MatrixState(
        heads=2, key_dim=3, value_dim=4, update="delta", decay=words.BoundedDecay(over="channels", bound=5.0)
    ),
    "Mamba-2 heads": words.MatrixState(
        heads=4,
        key_heads=1,
        key_dim=3,
        value_dim=2,
        convolution=words.Convolution(kernel=3, bias=True),
        activation="xielu",
        decay=words.StepDecay(scales_values=True, least=0.1, most=0.7),
        skip=True,
        norm=words.OutputNorm(eps=1e-5, groups=2, unit_offset=True),
        gate=words.OutputGate(order="before"),
        bias=True,
    ),
    "lightning attention": words.MatrixState(
        heads=2, key_dim=3, value_dim=3, activation="silu", decay=words.FixedDecay(factor=0.5)
    ),
    "short convolution": words.ShortConvolution(width=8, convolution=words.Convolution(kernel=3, bias=True), bias=True),
    "linear recurrent unit": words.RgLru(
        width=8, blocks=2, convolution=words.Convolution(kernel=3, bias=True), activation="gelu", bias=True
    ),
    "selective scan": words.SelectiveScan(width=8, state=3, kernel=4, step_rank=2, activation="silu"),
    "selective scan of two heads": words.SelectiveScan(
        width=8, heads=2, state=3, kernel=2, step_rank=2, activation="silu", inner_norm=words.RmsNorm(eps=1e-5)
    ),
    "selective scan with a learned activation": words.SelectiveScan(
        width=8, state=3, kernel=2, step_rank=2, activation="xielu", inner_norm=words.RmsNorm(eps=1e-5)
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_the_state_is_float32_in_a_model_of_another_dtype(name: str) -> None:
    module = random_parameters(make_recurrence(WORDS[name], WIDTH, torch.float16))
    types = {name: state.tensor for name, state in recurrence_state(WORDS[name], WIDTH, "float16").items()}
    assert all(kind.dtype == "float32" for name, kind in types.items() if name == "recurrence.state")
    assert {kind.dtype for name, kind in types.items() if name != "recurrence.state"} <= {"float16"}
    past = {name: torch.zeros(BATCH, *kind.shape[1:], dtype=torch_dtype(kind.dtype)) for name, kind in types.items()}
    x = torch.randn(BATCH, SEQ, WIDTH, generator=torch.Generator().manual_seed(1)).half()
    y, present = module(x, LayerInputs(lengths_B=torch.tensor([SEQ, SEQ])), past)
    present.pop(VALUES, None)
    assert (y.dtype, y.shape) == (torch.float16, x.shape)
    assert {name: (state.dtype, state.shape) for name, state in present.items()} == {
        name: (torch_dtype(kind.dtype), (BATCH, *kind.shape[1:])) for name, kind in types.items()
    }


@pytest.mark.parametrize("name", WORDS)
def test_two_calls_compute_what_one_does(name: str) -> None:
    module = random_parameters(make_recurrence(WORDS[name], WIDTH, torch.float32))
    types = {name: state.tensor for name, state in recurrence_state(WORDS[name], WIDTH, "float32").items()}
    state = {name: torch.zeros(BATCH, *kind.shape[1:], dtype=torch_dtype(kind.dtype)) for name, kind in types.items()}
    x = torch.randn(BATCH, SEQ, WIDTH, generator=torch.Generator().manual_seed(1))
    whole, _ = module(x, LayerInputs(), {})
    parts = []
    for part in x.split([2, 1], dim=1):
        y, state = module(part, LayerInputs(lengths_B=torch.full((BATCH,), part.shape[1])), state)
        state.pop(VALUES, None)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)


def test_padding_changes_no_state() -> None:
    for word in WORDS.values():
        module = random_parameters(make_recurrence(word, WIDTH, torch.float32))
        types = {name: state.tensor for name, state in recurrence_state(word, WIDTH, "float32").items()}
        past = {name: torch.ones(1, *kind.shape[1:], dtype=torch_dtype(kind.dtype)) for name, kind in types.items()}
        x = torch.randn(1, SEQ, WIDTH, generator=torch.Generator().manual_seed(1))
        real = torch.tensor([[[1.0], [1.0], [0.0]]])
        padded, after = module(x, LayerInputs(lengths_B=torch.tensor([2]), real_BS1=real), past)
        alone, expected = module(x[:, :2], LayerInputs(lengths_B=torch.tensor([2])), past)
        torch.testing.assert_close(padded[:, :2], alone)
        for name in types:
            torch.testing.assert_close(after[name], expected[name])
