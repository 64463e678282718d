"""Former names of the symmetric format, for passes that still use them."""

from __future__ import annotations

import torch
from torch import Tensor

from archc.compiler.weights.formats.format import QuantizedMatrix, QuantizedStack, QuantizedTensor, pack
from archc.compiler.weights.formats.symmetric import NumberFormat as Form
from archc.compiler.weights.formats.symmetric import SymmetricFormat
from archc.compiler.weights.lazy import WeightTensor

__all__ = ["Form", "Scheme", "SignedMatrix", "SignedScales", "SignedStack", "SignedValues", "packed"]


class Scheme(SymmetricFormat):
    """SymmetricFormat before it is known whether matrices are transposed."""

    def __init__(self, form: Form, block: int | None) -> None:
        super().__init__(form, block)

    @property
    def unit(self) -> float:
        """See `prescale`."""
        return self.prescale

    def numbers(self, rows_NK: Tensor, scales: Tensor) -> Tensor:
        """See `elements`."""
        return self.elements(rows_NK, scales)


class SignedMatrix(QuantizedMatrix):
    """A matrix in SymmetricFormat."""

    def __init__(self, weight: WeightTensor, scheme: Scheme, turned: bool = True) -> None:
        super().__init__(weight, SymmetricFormat(scheme.kind, scheme.block, turned))


class SignedScales(QuantizedTensor):
    """`scales`."""

    def __init__(self, matrix: SignedMatrix) -> None:
        super().__init__(matrix, "scales")


class SignedValues(QuantizedTensor):
    """`elements`."""

    def __init__(self, matrix: SignedMatrix) -> None:
        super().__init__(matrix, "elements")


def packed(integers: Tensor) -> Tensor:
    """Return int8 [..., N] as uint8 [..., N/2], the low four bits of each."""
    return pack(integers.contiguous().view(torch.uint8) & 15, 4)


SignedStack = QuantizedStack
