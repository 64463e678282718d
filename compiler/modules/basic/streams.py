"""Several residual streams: their beginning and end, and alternating updates (AltUp), of which a layer computes one.

Baykal et al. 2023, section 3, as in Gemma 3n. Shape suffixes as in `archc.compiler.ops.operators`, and: C streams,
M = C · N their total width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.gated_streams import StreamReader
from archc.compiler.modules.basic.hyper_connections import WeightedStreams
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm

# Lower bound on the mean square that a projected stream is divided by, as in the reference implementation.
_MIN_SQUARE = 1e-5


class FirstStreams(nn.Module):
    """The first layer's streams: x, and projections of x with the root mean square of x."""

    def __init__(self, count: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.count, self.width = count, width
        self.projection = Linear(width, (count - 1) * width, False, dtype)

    def forward(self, x_BSN: Tensor) -> Tensor:
        """[B, S, N] → [B, S, M]."""
        others = self.projection(x_BSN).split(self.width, dim=-1)
        return torch.cat([x_BSN, *(as_large(y, x_BSN) for y in others)], dim=-1)


class JoinedStreams(nn.Module):
    """The mean of the last layer's first stream and of projections of the others with its root mean square."""

    def __init__(self, count: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.width = width
        self.projections = nn.ModuleList(Linear(width, width, False, dtype) for _ in range(count - 1))

    def forward(self, x_BSM: Tensor) -> Tensor:
        """[B, S, M] → [B, S, N]."""
        first, *others = x_BSM.split(self.width, dim=-1)
        total = first
        for projection, other in zip(self.projections, others, strict=True):
            total = total + as_large(projection(other), first)
        return total * (1 / (len(others) + 1))


class RepeatedStreams(nn.Module):
    """The first layer's streams of hyper-connections and gated streams: x, so many times."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x_BSN: Tensor) -> Tensor:
        """[B, S, N] → [B, S, M]."""
        return torch.cat([x_BSN] * self.count, dim=-1)


class MeanOfStreams(nn.Module):
    """The mean of the last layer's streams."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.count, self.width = count, width

    def forward(self, x_BSM: Tensor) -> Tensor:
        """[B, S, M] → [B, S, N]."""
        return x_BSM.unflatten(-1, (self.count, self.width)).float().sum(dim=2).mul(1 / self.count).to(x_BSM.dtype)


def make_first_streams(word: words.Streams | None, width: int, dtype: torch.dtype) -> nn.Module:
    """Return the module from the embedding to the first layer's streams; the identity for a single one."""
    match word:
        case None:
            return nn.Identity()
        case words.AltUp():
            return FirstStreams(word.count, width, dtype)
        case words.HyperConnections() | words.GatedStreams():
            return RepeatedStreams(word.count)


def make_joined_streams(word: words.Streams | None, width: int, dtype: torch.dtype) -> nn.Module:
    """Return the module from the last layer's streams to what the final norm reads; the identity for a single one."""
    match word:
        case None:
            return nn.Identity()
        case words.AltUp():
            return JoinedStreams(word.count, width, dtype)
        case words.HyperConnections(output="mean"):
            return MeanOfStreams(word.count, width)
        case words.HyperConnections():
            return WeightedStreams(word, width)
        case words.GatedStreams():
            return StreamReader(word, width, dtype)


class AlternatingUpdates(nn.Module):
    """Prediction of the streams before a layer, and their correction by its output.

    predicted = x + P r(x[active]) x and corrected[i] = predicted[i] + (1 + (Q r(y))[i]) · (y − predicted[active]), with
    r(x) = tanh(W norm(x) / N) and the layer's output y of predicted[active].
    """

    def __init__(self, word: words.AltUp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.width = word, width
        self.norm = make_norm(word.norm, width, dtype)
        self.router = Linear(width, word.count, False, dtype)
        self.prediction = Linear(word.count, word.count**2, False, dtype)
        self.correction = Linear(word.count, word.count, False, dtype)
        self.scale = nn.Parameter(torch.empty(width, dtype=dtype)) if word.scale else None

    def predict(self, x_BSM: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, M] → predicted streams [B, S, C, N], and the active one [B, S, N]."""
        count = self.word.count
        x_BSCN = x_BSM.unflatten(-1, (count, self.width))
        weights_BSCC = self.prediction(self.route(x_BSCN[:, :, self.word.active])).unflatten(-1, (count, count))
        predicted_BSCN = x_BSCN
        for index in range(count):
            predicted_BSCN = predicted_BSCN + weights_BSCC[..., index, None] * x_BSCN[:, :, index, None]
        return predicted_BSCN, predicted_BSCN[:, :, self.word.active]

    def correct(self, predicted_BSCN: Tensor, y_BSN: Tensor) -> Tensor:
        """Return the streams [B, S, C, N], corrected by the layer's output."""
        weights_BSC = self.correction(self.route(y_BSN)) + 1.0
        error_BSN = y_BSN - predicted_BSCN[:, :, self.word.active]
        return predicted_BSCN + weights_BSC[..., None] * error_BSN[:, :, None]

    def active(self, x_BSCN: Tensor) -> Tensor:
        """Return the active stream, times the learned vector if there is one, [B, S, N]."""
        active_BSN = x_BSCN[:, :, self.word.active]
        return active_BSN if self.scale is None else active_BSN * self.scale

    def route(self, x_BSN: Tensor) -> Tensor:
        """Return the coefficients of a vector, [B, S, C]."""
        logits_BSC: Tensor = self.router(self.norm(x_BSN) * (1 / self.width))
        return logits_BSC.float().tanh().to(x_BSN.dtype)


def as_large(y_BSN: Tensor, x_BSN: Tensor) -> Tensor:
    """Return y with the root mean square of x, computed in float32."""
    y, width = y_BSN.float(), x_BSN.shape[-1]
    wanted, own = ((z.float().square().sum(dim=-1, keepdim=True) / width) for z in (x_BSN, y))
    return (y * wanted.sqrt() / own.clamp(min=_MIN_SQUARE).sqrt()).to(y_BSN.dtype)
