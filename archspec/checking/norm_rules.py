"""Rules for norms."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.vocabulary import LayerNorm, NoNorm, QkNorm, RmsNorm


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


def qk_norm_faults(norm: QkNorm, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield the faults of a norm on queries or keys; its path is that of the key."""
    yield from norm_faults(norm, path)
    if isinstance(norm, NoNorm):
        return
    if norm.over == "projection" and norm.weights == "per-head":
        yield f"{path}.weights", "a norm over the whole projection has one weight", "remove the key"
    if norm.over == "projection" and norm.order == "after":
        yield f"{path}.order", "a norm over the whole projection comes before the rotary embedding", "remove the key"
    if norm.weights == "per-head" and isinstance(norm, RmsNorm) and not norm.affine:
        yield f"{path}.weights", "a norm with a weight per head requires that weight", "remove `affine`"
    if norm.weights == "per-head" and isinstance(norm, LayerNorm) and (norm.bias or not norm.affine):
        message = "a norm with a weight per head requires that weight and no bias"
        yield f"{path}.weights", message, "set `bias: false`, and remove `affine`"
