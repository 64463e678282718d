"""Blocks: one per part of a model, with the rows that are drawn inside it, from its input to its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["attention", "cross", "recurrent", "mixing", "mlp", "experts", "norm", "table"]
"""The meaning of a block, which determines its color."""


@dataclass(frozen=True)
class Step:
    """One operation; `loops` marks a state that the next token reads."""

    text: str
    loops: bool = False


@dataclass(frozen=True)
class Pair:
    """Two projections of the same input, side by side."""

    left: str
    right: str


@dataclass(frozen=True)
class Formula:
    """An operation without weights, between two steps."""

    text: str


@dataclass(frozen=True)
class Heads:
    """Query heads over the key/value heads that they share; `latent` has the widths of a latent and its rope key."""

    queries: int
    keys: int
    latent: tuple[int, int] | None = None


@dataclass(frozen=True)
class Grid:
    """Routed experts, of which a token selects `chosen`, in equal groups."""

    experts: int
    chosen: int
    groups: int = 1
    chosen_groups: int = 1
    shared: bool = False


Row = Step | Pair | Formula | Heads | Grid


@dataclass(frozen=True)
class Block:
    """One part of a model: a title, a note at its right, rows from the input up, and tags of its options."""

    name: str
    kind: Kind
    title: str
    note: str = ""
    rows: tuple[Row, ...] = ()
    tags: tuple[str, ...] = ()

    def texts(self) -> list[str]:
        """Return every text of the block but the title."""
        return [
            *([self.note] if self.note else []),
            *(text for row in self.rows for text in row_texts(row)),
            *self.tags,
        ]


@dataclass(frozen=True)
class Branch:
    """A residual branch: an optional norm on its input and its output, and factors on the branch and on its skip."""

    body: Block
    before: Block | None = None
    after: Block | None = None
    scale: str = ""
    skip_scale: str = ""


MOST_VARIANTS = 5
"""Variants of a kind that are shown one by one; the numbers of more are ranges."""


@dataclass(frozen=True)
class Variant:
    """Layers of one kind that are equal, and the texts in which they differ from others of the kind."""

    layers: tuple[int, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class LayerKind:
    """Layers with the same blocks; numbers that differ are in the blocks as alternatives.

    `norms_after_sum` is post-norm: each branch's `before` norm follows its sum. `shared_norm` feeds both branches of a
    parallel layer. `skips_norm` is a skip connection from the branch's normed input.
    """

    letter: str
    layers: tuple[int, ...]
    branches: tuple[Branch, ...]
    arrangement: Literal["sequential", "parallel"] = "sequential"
    norms_after_sum: bool = False
    shared_norm: Block | None = None
    skips_norm: bool = False
    output_scale: bool = False
    extras: tuple[Block, ...] = ()  # after the branches
    variants: tuple[Variant, ...] = ()

    @property
    def prefix(self) -> str:
        """The beginning of the ids of its blocks, after that of the stack."""
        return f"{self.letter.lower()}-"

    @property
    def blocks(self) -> list[Block]:
        """All blocks of a layer."""
        parts = [block for branch in self.branches for block in (branch.before, branch.body, branch.after)]
        return [block for block in (self.shared_norm, *parts, *self.extras) if block is not None]

    @property
    def name(self) -> str:
        """The titles of the branches."""
        return " + ".join(branch.body.title for branch in self.branches) or "Identity"


@dataclass(frozen=True)
class Cell:
    """One layer in the strip: its kind, the colors of its mixer and MLP, and the index of its variant as a shade."""

    letter: str
    mixer: Kind | None
    mlp: Kind | None
    shade: int


@dataclass(frozen=True)
class End:
    """A head or a pooler, or None for the hidden states themselves, and the name of its output."""

    block: Block | None
    outcome: str


@dataclass(frozen=True)
class Stack:
    """An encoder or a decoder, from its inputs to its outcome."""

    name: str
    width: str
    inputs: tuple[Block, ...]  # tables, whose rows are added
    after_sum: tuple[Block, ...]  # norm and projection of the sum
    kinds: tuple[LayerKind, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
    final_norm: Block | None
    ends: tuple[End, ...]  # all read the normed hidden states
    ties_head: bool = False

    @property
    def prefix(self) -> str:
        """The beginning of the ids of its blocks."""
        return f"{self.name}-" if self.name else ""

    @property
    def outside(self) -> list[Block]:
        """The blocks that are not in layers."""
        ends = [self.final_norm, *(end.block for end in self.ends)]
        return [*self.inputs, *self.after_sum, *(block for block in ends if block is not None)]


@dataclass(frozen=True)
class Model:
    """All that is drawn of a model but its figures; an encoder-decoder has two stacks, the encoder first."""

    family: str
    size: str
    description: str
    facts: str
    stacks: tuple[Stack, ...]

    @property
    def title(self) -> str:
        """Family and size."""
        return f"{self.family} {self.size}".strip()


def row_texts(row: Row) -> list[str]:
    """Return the texts of a row; those of graphics without text are empty."""
    match row:
        case Step() | Formula():
            return [row.text]
        case Pair():
            return [row.left, row.right]
        case _:
            return []
