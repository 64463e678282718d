"""The base class of the vocabulary: a frozen, strictly typed record whose fields carry their documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# A count or a width. The bound rejects a mistaken size before a tensor of that size is allocated.
Size = Annotated[int, Field(gt=0, le=2**31 - 1)]


class Section(BaseModel):
    """One section of a bound spec: immutable, hashable and closed to unknown keys.

    Bound values are plain numbers, booleans and strings. In YAML a value may also be an expression over `config:` names
    or, in a per-layer section, a list that repeats over the layers; `archc.archspec.binding` evaluates both before it
    builds a Section.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


@dataclass(frozen=True)
class DefaultKind:
    """Annotation of a union of sections: the kind of a mapping without the key `kind`."""

    kind: str
