"""Arrays that a call fills."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.manifest import Output
from archc.runtime.errors import EngineError


def empty_output(output: Output, sizes: dict[str, int]) -> NDArray[Any]:
    """Return an array for `output`, its symbolic sizes taken from `sizes`; raise EngineError if there is no memory."""
    try:
        shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in output.shape)
        return np.empty(shape, DTYPES[output.dtype].storage)
    except KeyError as error:
        raise EngineError(f"output {output.name!r} has a size {error} that this runtime does not know") from None
    except (MemoryError, ValueError):
        raise EngineError(f"no memory for {output.name!r} of {list(shape)}: use shorter or fewer sequences") from None
