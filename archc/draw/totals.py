"""Numbers of a model: parameters by part, and state and multiply-adds of a token by length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Part = str
PARTS: Mapping[Part, str] = {
    "attention": "Attention",
    "cross": "Cross-attention",
    "recurrent": "Recurrent",
    "mlp": "MLP",
    "experts": "Experts and routers",
    "norm": "Norms",
    "table": "Embeddings",
    "head": "Head",
    "other": "Other",
}
"""The parts that parameters are counted by, in the order of the figure."""

_LENGTHS = (1024, 8192, 32768)


@dataclass(frozen=True)
class AtLength:
    """State bytes of a sequence, and multiply-adds of one more token, at a length."""

    length: int
    state_bytes: int
    multiply_adds: int


@dataclass(frozen=True)
class Totals:
    """Parameters, and state and multiply-adds by length: the numbers next to a figure."""

    parameters: int
    by_part: Mapping[Part, int]
    active: int | None  # parameters of a token's experts and all else; None without experts
    state_dtype: str
    state_per_token: int
    state_fixed: int
    state_per_source_token: int
    state_in_windows: int  # the part of `state_per_token` that grows up to the windows' width only
    by_length: tuple[AtLength, ...]
    curve: tuple[AtLength, ...]  # from one token to the context, with every length at which a window is full


def part_title(totals: Totals, part: Part) -> str:
    """Return the title of a part; shared experts are MLPs."""
    return "MLPs, shared experts" if part == "mlp" and "experts" in totals.by_part else PARTS[part]


def part_of(name: str) -> Part:
    """Return the part that a weight slot belongs to."""
    parts = name.removeprefix("encoder.").split(".")
    if any(part.endswith("norm") for part in parts):
        return "norm"
    if parts[0] in ("head", "pooler"):
        return "head"
    if parts[0] == "embedding":
        return "table"
    if "cross_attention" in parts:
        return "cross"
    if "attention" in parts or any(part.startswith("relative_") for part in parts):
        return "attention"
    if "recurrence" in parts:
        return "recurrent"
    if "experts" in parts or "router" in parts:
        return "experts"
    return "mlp" if "mlp" in parts else "other"


def parameters_by_part(counts: Iterable[tuple[str, int]]) -> dict[Part, int]:
    """Return the sums of slots by part, without empty parts, in the order of `PARTS`."""
    sums = dict.fromkeys(PARTS, 0)
    for name, count in counts:
        sums[part_of(name)] += count
    return {part: count for part, count in sums.items() if count}


def lengths(context: int) -> list[int]:
    """Return the lengths of the table: 1k, 8k and 32k that are clearly below the context, and the context."""
    return [*(length for length in _LENGTHS if length < 0.9 * context), context]
