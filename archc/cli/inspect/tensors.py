"""The tensors of a checkpoint by pattern: numbers of layers and experts collapsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.archspec import ArchspecError
from archc.authoring.patterns import TensorGroup, group_tensors
from archc.cli.console import columns
from archc.compiler.errors import BuildError
from archc.layer_ranges import format_ranges

if TYPE_CHECKING:
    from archc.archspec import BoundSpec


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
        from archc.archspec.weights.bound_table import generic_key
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
