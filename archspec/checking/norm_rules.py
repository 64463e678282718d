"""Rules for norms."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.vocabulary import LayerNorm, RmsNorm


def norm_faults(norm: object, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield the faults of a norm; nothing for other objects."""
    if isinstance(norm, LayerNorm | RmsNorm) and not norm.affine:
        if isinstance(norm, LayerNorm) and norm.bias:
            yield f"{path}.affine", "a norm without a weight has no bias", "set `bias: false`"
        if norm.unit_offset:
            yield f"{path}.unit_offset", "a norm without a weight has no offset", "remove the key"
    placements = (getattr(norm, "placement", None), getattr(norm, "mlp_placement", None))
    if getattr(norm, "output_eps", None) is not None and "sandwich" not in placements:
        message = "the norms of a branch differ with `placement: sandwich` only"
        yield f"{path}.output_eps", message, "set it, or remove the key"
