"""What every word of the vocabulary is: a frozen, strict record whose fields carry their own documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# A count or a width: anything larger is a mistake, and is refused before a tensor of that size exists.
Size = Annotated[int, Field(gt=0, le=2**31 - 1)]


class Word(BaseModel):
    """A section of a spec after binding: immutable, hashable, and closed to unknown keys.

    The classes of this package describe *bound* values: plain numbers, booleans and words. In a YAML file any of these
    values may also be an expression over `config:` names, or, in a section that belongs to a layer, a list that repeats
    over the layers; `checking.checker` and `archspec.binding` take those forms away before a Word is made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class DefaultKind:
    """Stands in the type of a section: the kind of a section that names none."""

    kind: str
