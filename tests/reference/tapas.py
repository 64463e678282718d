"""TAPAS: transformers' classes, with all tokens in no cell of a table."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import TapasConfig

from archc.proof.case import Case, Ids, Outputs
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


class WithoutCells(FromTransformers):
    """A class whose token types are lists, of which a text has the first one."""

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None) -> Outputs:
        """One call of the class."""
        types: Any = [[[kind, 0, 0, 0, 0, 0, 0] for kind in row] for row in token_type_ids or ()]
        return super().outputs(ids, types or None)


def tapas(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny TAPAS of one of the classes."""
    sizes = {name: value for name, value in SIZES.items() if name != "type_vocab_size"}
    config = TapasConfig(**sizes | {"type_vocab_sizes": [3, 5, 6, 2, 4, 5, 7]} | changes)
    return make(class_name, config, seed, kind=WithoutCells, attention="eager")


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(tapas, "TapasForMaskedLM", 1)),
    Encoder("model", partial(tapas, "TapasModel", 2)),
    Encoder("classes", partial(tapas, "TapasForSequenceClassification", 3, num_labels=3)),
)
