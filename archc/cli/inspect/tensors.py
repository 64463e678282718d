"""The tensors of a checkpoint by pattern: numbers of layers and experts collapsed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.archspec import ArchspecError
from archc.cli.console import columns
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Weights

if TYPE_CHECKING:
    from archc.archspec import BoundSpec


@dataclass(frozen=True)
class TensorGroup:
    """Tensors whose names differ in numbers alone, of one shape, dtype and use."""

    pattern: str
    shape: tuple[int, ...]
    dtype: str
    use: str | None  # read, ignored, unread or outside; None without a spec
    count: int
    layers: tuple[int, ...]


@dataclass(frozen=True)
class TensorListing:
    """The tensors of a checkpoint, and their use by a spec; `fault` is the reason if there is no spec for it."""

    path: str
    family: str | None
    groups: tuple[TensorGroup, ...]
    unfilled: tuple[str, ...] = ()
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the report as one JSON object."""
        return {
            "kind": "tensors",
            "path": self.path,
            "family": self.family,
            "error": self.fault,
            "unfilled": list(self.unfilled),
            "tensors": [
                {
                    "pattern": group.pattern,
                    "shape": list(group.shape),
                    "dtype": group.dtype,
                    "count": group.count,
                    "layers": list(group.layers),
                    "use": group.use,
                }
                for group in self.groups
            ],
        }

    def lines(self) -> list[str]:
        """Return the report as text."""
        header = ("TENSOR", "SHAPE", "DTYPE", "COUNT", "LAYERS", "USE" if self.family else "")
        rows = [
            (
                group.pattern,
                str(list(group.shape)),
                group.dtype,
                str(group.count),
                format_ranges(group.layers),
                group.use or "",
            )
            for group in self.groups
        ]
        lines = columns(header, rows, right=(3,))
        total = sum(group.count for group in self.groups)
        if self.family is None:
            return [*lines, "", f"{total:,} tensors"]
        counts = {use: sum(group.count for group in self.groups if group.use == use) for use in _USES}
        parts = [f"{counts[use]:,} {text}" for use, text in _USES.items() if counts[use]]
        lines += ["", f"{total:,} tensors; of the spec {self.family}: {', '.join(parts) or 'none read'}"]
        return [*lines, *(f"no tensor fills {slot}" for slot in self.unfilled)]


_USES = {
    "read": "read",
    "ignored": "without effect",
    "unread": "not read",
    "outside": "of other parts of a multimodal model",
}


def list_tensors(folder: Path, bound: BoundSpec | None, fault: str | None = None) -> TensorListing:
    """Return the tensors of a checkpoint by pattern, with their use by `bound` if there is one.

    Raises BuildError if the checkpoint has no weights, or damaged ones.
    """
    from archc.compiler.weights.checkpoint.containers import open_weights

    weights = open_weights(folder)
    uses: Mapping[str, str] = {}
    unfilled: tuple[str, ...] = ()
    if bound is not None:
        from archc.archspec.weights.resolve import generic_key
        from archc.compiler.modules.model import meta_model
        from archc.compiler.weights.checkpoint.survey import survey_checkpoint

        try:
            survey = survey_checkpoint(bound, meta_model(bound), folder)
        except (ArchspecError, BuildError) as error:
            bound, fault = None, str(error)
        else:
            uses = survey.uses
            unfilled = tuple(dict.fromkeys(map(generic_key, survey.unfilled)))
    groups = tuple(group_tensors(weights, uses))
    return TensorListing(str(folder), bound.family if bound is not None else None, groups, unfilled, fault)


def group_tensors(weights: Weights, uses: Mapping[str, str]) -> Iterator[TensorGroup]:
    """Yield the groups of a checkpoint's tensors, in the order of their first names and layers."""
    groups: dict[tuple[str, tuple[int, ...], str, str | None], list[int | None]] = {}
    for name in sorted(weights.names(), key=_natural):
        pattern, layer = collapse(name)
        key = (pattern, weights.shape(name), weights.dtype(name), uses.get(name))
        groups.setdefault(key, []).append(layer)
    for (pattern, shape, dtype, use), layers in groups.items():
        numbers = tuple(sorted({layer for layer in layers if layer is not None}))
        yield TensorGroup(pattern, shape, dtype, use, len(layers), numbers)


def collapse(name: str) -> tuple[str, int | None]:
    """Return a tensor's name with its numbers as placeholders, and the number of its layer.

    The number after `experts` is `{expert}`, the first other one `{layer}`, and any further one `{index}`.
    """
    parts: list[str] = []
    layer: int | None = None
    for part in name.split("."):
        if not part.isascii() or not part.isdigit():
            parts.append(part)
        elif parts and parts[-1] == "experts":
            parts.append("{expert}")
        elif layer is None:
            layer = int(part)
            parts.append("{layer}")
        else:
            parts.append("{index}")
    return ".".join(parts), layer


def format_ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text, consecutive ones as a range: `0-2, 4`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which names sort with their numbers by value."""
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in name.split(".")]
