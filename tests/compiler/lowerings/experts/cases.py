"""Experts nodes in small graphs, numbers for them, and the results of the torch operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray

from archc.compiler.lowerings.activations import swish
from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.ops.activations import ACTIVATIONS
from archc.compiler.ops.experts import INPUTS, experts
from archc.compiler.passes.clean import DropInnerAxisNames
from archc.compiler.weights.lazy import StackedWeight
from tests.compiler.graphs import filled, model, run, semantic, value

WIDTH, INNER = 32, 16
FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
Stacks = dict[str, torch.Tensor]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Options:
    """The attributes of an Experts node."""

    function: str = "silu"
    beta: float = 0.0
    limit: float = 0.0
    up_offset: float = 0.0
    activation_limit: float = 0.0


@dataclass(frozen=True)
class Problem:
    """A mixture: its size, the experts a token uses, and what each expert has."""

    experts: int
    used: int
    gated: bool = True
    biased: bool = False
    options: Options = Options()
    dtype: ir.DataType = FLOAT

    def stacks(self) -> Stacks:
        """Return random weights [experts, ...] by the names of the node's inputs."""
        shapes = {"up": (INNER, WIDTH), "down": (WIDTH, INNER)} | ({"gate": (INNER, WIDTH)} if self.gated else {})
        shapes |= {f"{name}_bias": shape[:1] for name, shape in shapes.items()} if self.biased else {}
        random = torch.Generator().manual_seed(self.experts)
        return {name: 0.3 * torch.randn(self.experts, *shape, generator=random) for name, shape in shapes.items()}

    def model(self) -> ir.Model:
        """Return one Experts node as tracing leaves it."""
        inputs = [
            value("x", self.dtype, "batch", "seq", WIDTH),
            value("chosen", INT64, "batch", "seq", self.used),
            value("weights", self.dtype, "batch", "seq", self.used),
        ]
        weights = {}
        for name, numbers in self.stacks().items():
            tensor = StackedWeight(name, slots_of(name, self.experts), numbers.shape, self.dtype)
            weights[name] = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(self.dtype), const_value=tensor)
        operands = [*inputs, *(weights.get(name) for name in INPUTS[3:])]
        attributes = asdict(self.options)
        node = semantic("Experts", operands, "y", ["batch", "seq", WIDTH], self.dtype, **attributes)
        return model(inputs, [node], node.outputs, list(weights.values()))

    def feeds(self, batch: int, seq: int) -> dict[str, NDArray[Any]]:
        """Return random numbers for a call; a token chooses different experts."""
        random = np.random.default_rng(self.experts)
        chosen = np.argsort(random.random((batch, seq, self.experts)), axis=-1)[..., : self.used]
        return {
            "x": random.standard_normal((batch, seq, WIDTH)).astype(self.dtype.numpy()),
            "chosen": chosen.astype(np.int64),
            "weights": random.random((batch, seq, self.used)).astype(self.dtype.numpy()),
        }

    def expected(self, feeds: Arrays, stacks: Stacks | None = None) -> NDArray[np.float32]:
        """Return the result of the torch operator in float32."""
        tensors = [torch.from_numpy(feeds[name]) for name in ("x", "chosen", "weights")]
        tensors = [tensor if tensor.dtype == torch.int64 else tensor.float() for tensor in tensors]
        weights = self.stacks() if stacks is None else stacks
        y = experts(*tensors, *(weights.get(name) for name in INPUTS[3:]), *astuple(self.options))
        result: NDArray[np.float32] = y.numpy()
        return result


def slots_of(name: str, count: int) -> list[str]:
    """Return the slots of a stack."""
    return [f"{name}.{index}" for index in range(count)]


def slots(stacks: Stacks) -> dict[str, torch.Tensor]:
    """Return the tensors of every slot."""
    return {f"{name}.{index}": part for name, numbers in stacks.items() for index, part in enumerate(numbers)}


def lowered(problem: Problem, lowering: Lowering, linear: Lowering) -> ir.Model:
    """Return the graph with experts, their products and activations lowered, as a runtime gets it."""
    graph = problem.model()
    Lower({"Experts": lowering, "Linear": linear}, {"Swish": swish})(graph)
    DropInnerAxisNames()(graph)
    return graph


def check_equal(problem: Problem, graph: ir.Model) -> None:
    """Assert that a lowered graph computes the torch operator, for one token and for several."""
    filled(graph, slots(problem.stacks()))
    for batch, seq in ((1, 1), (2, 7)):
        feeds = problem.feeds(batch, seq)
        (y,) = run(graph, feeds)
        np.testing.assert_allclose(y, problem.expected(feeds), rtol=1e-4, atol=1e-4)


def check_unused_is_unread(problem: Problem, lowering: Lowering, linear: Lowering) -> None:
    """Assert that numbers of experts that a token does not use do not reach it, even if they are not finite."""
    stacks, feeds = problem.stacks(), problem.feeds(2, 3)
    exact = problem.expected(feeds)
    unused = next(iter(set(range(problem.experts)) - set(feeds["chosen"][0, :2].flatten().tolist())))
    stacks["up"][unused] = torch.nan
    (y,) = run(filled(lowered(problem, lowering, linear), slots(stacks)), feeds)
    np.testing.assert_allclose(y[0, :2], exact[0, :2], rtol=1e-4, atol=1e-5)


def relative_error(problem: Problem, graph: ir.Model, batch: int, seq: int) -> float:
    """Return the norm of a graph's error over that of the torch operator's result."""
    feeds = problem.feeds(batch, seq)
    exact = problem.expected(feeds)
    (y,) = run(graph, feeds)
    return float(np.linalg.norm(y - exact) / np.linalg.norm(exact))


OPTIONS = {
    "swiglu": (True, False, Options("silu")),
    "clamped": (True, True, Options("silu", 1.7, 0.8, 1.0)),
    "beta": (True, False, Options("silu", beta=1.7)),
    "limit": (True, True, Options("silu", limit=0.8)),
    "activation-limit": (True, False, Options("silu", activation_limit=0.2)),
    "up-offset": (True, False, Options("silu", up_offset=1.0)),
    "geglu": (True, True, Options("gelu")),
    "plain": (False, True, Options("relu2")),
    "plain-gelu": (False, False, Options("gelu_tanh")),
    "plain-relu": (False, False, Options("relu")),
}
SIZES = {"one": (1, 1), "five": (5, 2), "all-of-nine": (9, 9), "sixty-four": (64, 3)}

EVERY_OPTION = pytest.mark.parametrize(("gated", "biased", "options"), OPTIONS.values(), ids=OPTIONS)
EVERY_SIZE = pytest.mark.parametrize(("experts", "used"), SIZES.values(), ids=SIZES)
EVERY_ACTIVATION = pytest.mark.parametrize("function", ACTIVATIONS)
GATED = pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
BIASED = pytest.mark.parametrize("biased", [False, True], ids=["no-bias", "bias"])
