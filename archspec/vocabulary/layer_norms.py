"""The norms of a layer by name, from their placement around its branches."""

from __future__ import annotations

from archc.archspec.vocabulary.model import Layer
from archc.archspec.vocabulary.norm import NoNorm, NormGate, PlacedLayerNorm, PlacedRmsNorm

Word = PlacedRmsNorm | PlacedLayerNorm

MIXER, CROSS, MLP = "mixer_norm", "cross_norm", "mlp_norm"
"""Norms on the input of a branch; in post-norm layers on the sum after it."""

MIXER_OUTPUT, CROSS_OUTPUT, MLP_OUTPUT = "mixer_output_norm", "cross_output_norm", "mlp_output_norm"
"""Norms on the output of a branch."""

NORMS = (MIXER, CROSS, MLP, MIXER_OUTPUT, CROSS_OUTPUT, MLP_OUTPUT)


def layer_norms(layer: Layer) -> dict[str, Word]:
    """Return the norms that a layer has; a norm that both branches share is that of the mixer."""
    norm = layer.norm
    if isinstance(norm, NoNorm):
        return {}
    at_mlp = norm.mlp_placement or norm.placement
    crosses = layer.cross_attention is not None and norm.branches == "both"
    branches = (
        (MIXER, MIXER_OUTPUT, norm.placement, norm.branches != "mlp"),
        (CROSS, CROSS_OUTPUT, norm.placement, crosses),
        (MLP, MLP_OUTPUT, at_mlp, norm.branches != "mixer"),
    )
    on_output = norm if norm.output_eps is None else norm.model_copy(update={"eps": norm.output_eps})
    norms: dict[str, Word] = {}
    for before, after, placement, has_norm in branches:
        if has_norm and placement != "output" and not (before == MLP and norm.shared):
            norms[before] = norm
        if has_norm and placement in ("sandwich", "output"):
            norms[after] = on_output
    return norms


def norm_gate(layer: Layer, name: str) -> NormGate | None:
    """Return the gate on the output of one of a layer's norms."""
    gate = getattr(layer.norm, "gate", None)
    is_gated = name == MIXER or (name == MLP and gate is not None and gate.branches == "both")
    return gate if is_gated else None
