"""Parameters of MLPs: plain, gated, mixtures of experts, channel mixing."""

from __future__ import annotations

from archc.archspec import vocabulary as words
from archc.compiler.structure.part import Part, activation, grouped_linear, linear, low_rank, norm, part, table
from archc.compiler.structure.recurrence import token_shift


def mlp(word: words.Mlp, width: int, vocab: int = 0) -> Part:
    """Return an MLP of a residual stream of that width, in a model of that vocabulary."""
    match word:
        case words.PlainMlp():
            return part(
                up=grouped_linear(width, word.width, word.bias, word.groups.up),
                down=grouped_linear(word.width, width, word.has_down_bias, word.groups.down),
                activation=activation(word.activation),
            )
        case words.GatedMlp():
            return part(
                gate=linear(width, word.width, word.bias),
                up=linear(width, word.width, word.bias),
                down=linear(word.width, width, word.has_down_bias),
                inner_norm=norm(word.inner_norm, word.width),
                adapter=low_rank(width, word.adapter.rank, 2 * word.width, False) if word.adapter is not None else None,
                learned=activation(word.activation),
            )
        case words.LinearMlp():
            return part(projection=linear(width, width, word.bias))
        case words.MoeMlp():
            return _experts(word, width, vocab)
        case words.ChannelMixing():
            streams = ("k", "r") if word.receptance else ("k",)
            return part(
                shift=token_shift(words.StaticShift(weighs=word.weighs), streams, width),
                up=linear(width, word.width, False),
                down=linear(word.width, width, False),
                receptance=linear(width, width, False) if word.receptance else None,
                activation=activation(word.activation),
            )


def _experts(word: words.MoeMlp, width: int, vocab: int) -> Part:
    expert, router = word.expert, word.router
    choices = word.experts + word.identity_experts
    gated = isinstance(expert, words.GatedMlp)
    projections = {
        "gate": (width, expert.width, expert.bias) if gated else None,
        "up": (width, expert.width, expert.bias),
        "down": (expert.width, width, expert.has_down_bias),
    }
    experts = {name: linear(*sizes) for name, sizes in projections.items() if sizes is not None}
    active = word.per_token * sum(each.flops for each in experts.values())
    stacked = {name: each.without_flops() for name, each in experts.items()}
    branch = word.branch.norm if word.branch is not None else words.NoNorm()
    return part(
        {"bias": (width,) if word.sum_bias else None},
        router=part(
            {
                "selection_bias": (choices,) if router.selection_bias else None,
                "expert_scale": (choices,) if router.expert_scale else None,
            },
            projection=linear(width, choices, router.bias),
            norm=norm(router.norm, width),
            by_token=table(vocab, word.per_token) if router.selection == "tokens" else None,
        ),
        experts=Part({}, stacked, active, word.experts),
        shared=mlp(word.shared, width) if word.shared is not None else None,
        shared_gate=linear(width, 1, False) if word.shared_gate else None,
        norm=norm(branch, width),
        output_norm=norm(branch, width),
        shared_norm=norm(branch, width),
    )
