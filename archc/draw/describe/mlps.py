"""MLPs as blocks: dense, gated, channel mixing and mixtures of experts."""

from __future__ import annotations

from archc.archspec import vocabulary as words
from archc.draw.describe.blocks import Block, Formula, Grid, Pair, Row, Step
from archc.draw.describe.words import (
    activation_name,
    approximation_tags,
    bias_tags,
    further_tags,
    gated_name,
    norm_name,
    real,
    whole,
)

# The keys that have texts of their own.
_ROUTER = "score selection over renormalize scale bias norm logit_scale expert_scale selection_bias weighs groups"
_EXPERTS = "experts per_token router expert shared shared_scale shared_gate branch"


def mlp_block(mlp: words.Mlp, width: int) -> Block:
    """Return the block of a layer's MLP."""
    if isinstance(mlp, words.PlainMlp | words.GatedMlp):
        rows, note = _dense_rows(mlp, width)
        return Block("mlp", "mlp", "MLP", note, rows, tuple(_dense_tags(mlp)))
    if isinstance(mlp, words.LinearMlp):
        return Block("mlp", "mlp", "Linear", "one matrix", (Step(f"{whole(width)} → {whole(width)}"),))
    return _channel_mixing(mlp, width) if isinstance(mlp, words.ChannelMixing) else _experts(mlp, width)


def _dense_rows(mlp: words.DenseMlp, width: int) -> tuple[tuple[Row, ...], str]:
    inner, activation = whole(mlp.width), activation_name(mlp.activation)
    down = Step(f"down {inner} → {whole(width)}")
    if isinstance(mlp, words.PlainMlp):
        return (Step(f"up → {inner}"), Formula(activation), down), "two matrices"
    product = f"{activation}(gate) ⊙ up"
    if mlp.up_offset is not None:
        product = f"{activation}(gate) ⊙ (up + {real(mlp.up_offset)})"
    return (Pair(f"gate → {inner}", f"up → {inner}"), Formula(product), down), gated_name(mlp.activation)


def _dense_tags(mlp: words.DenseMlp) -> list[str]:
    tags = bias_tags({"up": mlp.bias, "down": mlp.has_down_bias}) + approximation_tags(mlp.activation)
    if isinstance(mlp, words.GatedMlp):
        tags += [f"β {real(mlp.beta)}"] if mlp.beta is not None else []
        tags += [f"clamp {real(mlp.limit)}"] if mlp.limit is not None else []
    return tags + further_tags(mlp, "width activation bias down_bias beta limit up_offset")


def _channel_mixing(mlp: words.ChannelMixing, width: int) -> Block:
    rows: list[Row] = [
        Step("token shift: blend with the last input", loops=True),
        Step(f"up → {whole(mlp.width)}"),
        Formula(activation_name(mlp.activation)),
        Step(f"down {whole(mlp.width)} → {whole(width)}"),
    ]
    rows += [Formula("⊙ sigmoid(receptance)")] if mlp.receptance else []
    return Block("mlp", "mlp", "Channel mixing", "with receptance" if mlp.receptance else "", tuple(rows))


def _experts(mlp: words.MoeMlp, width: int) -> Block:
    router = mlp.router
    score = {"softmax": "softmax", "sqrtsoftplus": "sqrt softplus"}.get(router.score, "sigmoid")
    order = f"top {mlp.per_token} of {score}" if router.over == "all" else f"{score} of the top {mlp.per_token}"
    if router.selection == "tokens":
        order = f"{score} of {mlp.per_token} by token id"
    groups = router.groups
    grid = Grid(
        mlp.experts,
        mlp.per_token,
        groups.count if groups is not None else 1,
        groups.chosen if groups is not None else 1,
        mlp.shared is not None,
    )
    rows: list[Row] = [
        Step(f"router → {mlp.experts} · {order}"),
        grid,
        Step(f"expert: {_short_mlp(mlp.expert, width)}"),
    ]
    if mlp.shared is not None:
        rows += [Step(f"shared: {_short_mlp(mlp.shared, width)}")]
    note = f"{mlp.per_token} of {mlp.experts}" + (" + shared" if mlp.shared is not None else "")
    return Block("mlp", "experts", "Experts", note, tuple(rows), tuple(_router_tags(mlp)))


def _short_mlp(mlp: words.DenseMlp, width: int) -> str:
    name = gated_name(mlp.activation) if isinstance(mlp, words.GatedMlp) else activation_name(mlp.activation)
    if name == "gated":
        name = f"gated {activation_name(mlp.activation)}"
    return f"{name} → {whole(mlp.width)} → {whole(width)}"


def _router_tags(mlp: words.MoeMlp) -> list[str]:
    router = mlp.router
    tags = []
    if router.groups is not None:
        by = "best expert" if router.groups.by == "max" else "best two"
        tags.append(f"{router.groups.chosen} of {router.groups.count} groups, by {by}")
    tags += ["selection bias"] if router.selection_bias else []
    tags += ["weights sum to 1"] if router.renormalize else []
    tags += [f"weights × {real(router.scale)}"] if router.scale not in (None, 1.0) else []
    tags += ["router bias"] if router.bias else []
    tags += [] if isinstance(router.norm, words.NoNorm) else [f"router: {norm_name(router.norm)}"]
    tags += [f"logits × {real(router.logit_scale)}"] if router.logit_scale is not None else []
    tags += ["learned scale per expert"] if router.expert_scale else []
    tags += ["weights on the input"] if router.weighs == "input" else []
    tags += [f"shared × {real(mlp.shared_scale)}"] if mlp.shared_scale is not None else []
    tags += ["sigmoid gate on shared"] if mlp.shared_gate else []
    tags += ["experts in a branch of their own"] if mlp.branch is not None else []
    offset = getattr(mlp.expert, "up_offset", None)
    tags += [f"expert up + {real(offset)}"] if offset is not None else []
    tags += further_tags(router, _ROUTER) + further_tags(mlp, _EXPERTS)
    return tags + [f"expert {tag}" for tag in _dense_tags(mlp.expert)]
