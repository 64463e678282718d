"""Several residual streams: a form of the residual connection with learned weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from archc.archspec.vocabulary.base import Section, Size
from archc.archspec.vocabulary.norm import Norm, RmsNorm

_COUNT = "Number of streams."


class AltUp(Section):
    """Alternating updates (Baykal et al. 2023, section 3): the layer computes the active stream, after a linear
    prediction of all streams from each other, and corrects all by its output. Coefficients are linear in
    tanh(W norm(x) / width). The first layer's streams are the embedding and projections of it; the mean of the last
    layer's is normed for the head. An `embedding_branch` reads the active stream and is added to all but the first
    (Gemma 3n).
    """

    kind: Literal["altup"] = "altup"
    count: int = Field(ge=2, le=64, description=_COUNT)
    active: int = Field(0, ge=0, le=63, description="Index of the stream that the layer computes.")
    norm: Norm = Field(description="Norm in the coefficients.")
    scale: bool = Field(False, description="Multiply the input of `embedding_branch` by a learned vector.")


class SinkhornMixing(Section):
    """A matrix of mixing weights with rows and columns that sum to 1: softmax over the rows, then Sinkhorn-Knopp
    iterations (Xie et al. 2026, manifold-constrained hyper-connections).
    """

    kind: Literal["sinkhorn"] = "sinkhorn"
    iterations: int = Field(ge=1, le=100, description="Divisions by the sums of columns; of rows, one fewer.")
    eps: NonNegativeFloat = Field(description="Added to each weight of the softmax, and to each sum.")


class HyperConnections(Section):
    """Hyper-connections (Zhu et al. 2024; Xie et al. 2026): every branch reads Σ_i r_i x_i of the streams x, and its
    output y changes them to x'_k = w_k y + Σ_j m_jk x_j. r = sigmoid(·) + eps, w = write_scale · sigmoid(·) +
    write_eps and the mixing weights m are functions of s ⊙ (W norm(x)) + b, x all streams of a token, with one learned
    number s for each of the three. All streams begin as the embedding.
    """

    kind: Literal["hyper-connections"] = "hyper-connections"
    count: int = Field(ge=2, le=64, description=_COUNT)
    norm: Norm = Field(description="Norm over all streams of a token.")
    eps: NonNegativeFloat = Field(description="Added to the weights r.")
    write_scale: PositiveFloat = Field(2.0, description="Factor in the weights w.")
    write_eps: NonNegativeFloat = Field(0.0, description="Added to the weights w.")
    mixing: SinkhornMixing | None = Field(None, description="Mixing weights m. none: each stream is kept.")
    output: Literal["weighted", "mean"] = Field(
        "weighted",
        description="The vector that is normed for the head. weighted: a sum with weights like r, of their own. mean: "
        "the mean of the streams.",
    )


class GatedStreams(Section):
    """Several residual streams that each branch reads and writes through gates (Zhu et al. 2025, Hyper-Connections,
    section 2.2, with the gates of Qwen4-Exp). The input of a branch is the mean of sigmoid(B · silu(A n / count)) ⊙ n
    over the streams, n being all of them normed; its output y is added to stream c as 2 · sigmoid(w_c · n / count) · y.
    The first layer's streams are copies of the embedding, and the head reads the last layer's as a branch does. The
    layer has no norm on the input of its branches, and the model no final one.
    """

    kind: Literal["gated"] = "gated"
    count: int = Field(ge=2, le=64, description=_COUNT)
    rank: Size = Field(description="Rows of A, and columns of B.")
    norm: RmsNorm = Field(description="Norm on each stream, with a weight of its own.")


Streams = Annotated[AltUp | HyperConnections | GatedStreams, Field(discriminator="kind")]
