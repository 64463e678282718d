"""The result of a verification."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """The largest difference between two values of one output, and the root mean square of all.

    `rms` is relative to the reference's root mean square; `rms_allowed` is None where only the largest counts.
    """

    output: str
    largest: float
    allowed: float
    prompt: int
    position: int
    index: int
    plan: float
    reference: float
    rms: float
    rms_allowed: float | None = None

    @property
    def ok(self) -> bool:
        """True if the difference is within the tolerance; NaN never is."""
        return self.largest <= self.allowed and (self.rms_allowed is None or self.rms <= self.rms_allowed)


@dataclass(frozen=True)
class Divergence:
    """The first greedy token at which the plan differs from the reference, and the gap of their logits there."""

    prompt: int
    token: int
    plan: int
    reference: int
    gap: float
    is_tie: bool


@dataclass(frozen=True)
class WeightCheck:
    """The stored weights of a quantized plan against the checkpoint's: the largest error, in quantization steps."""

    matrices: int  # quantized
    others: int  # in floating point, which must be equal
    largest: float
    allowed: float
    tensor: str  # of the largest error
    unequal: str | None  # a tensor in floating point that differs

    @property
    def ok(self) -> bool:
        """True if every weight rounds to its stored integer."""
        return self.largest <= self.allowed and self.unequal is None


@dataclass(frozen=True)
class Report:
    """The prompts, and every difference; `graph` is archc's torch graph against `graph_reference`."""

    reference: str
    tolerance: str
    notes: tuple[str, ...]
    prompts: tuple[tuple[int, ...], ...]
    differences: tuple[Difference, ...]
    divergences: tuple[Divergence, ...]
    new_tokens: int
    not_finite: str | None
    weights: WeightCheck | None = None
    graph: tuple[Difference, ...] = ()
    graph_reference: str | None = None

    @property
    def ok(self) -> bool:
        """True if all outputs and weights are within the tolerance, and all greedy tokens equal except ties."""
        outputs = all(item.ok for item in (*self.graph, *self.differences))
        tokens = all(item.is_tie for item in self.divergences)
        return outputs and tokens and self.not_finite is None and (self.weights is None or self.weights.ok)
