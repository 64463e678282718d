"""Rules for MLPs and mixtures of experts: combinations of valid values that have no meaning or are not supported."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.checking.fault import key_faults
from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.errors import format_value
from archc.archspec.vocabulary import GatedMlp, MlpGroups, MoeMlp, NoNorm, PlainMlp


def mlp_faults(mlp: object, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, message and hint of each fault of an MLP; nothing for other objects."""
    if isinstance(mlp, GatedMlp) and mlp.activation == "xielu":
        keys = [key for key in ("beta", "limit", "activation_limit", "up_offset") if getattr(mlp, key)]
        if keys:
            yield f"{path}.activation", f"xielu is not supported with {' and '.join(keys)}", "remove the key"
    if isinstance(mlp, GatedMlp) and mlp.limit is not None and mlp.activation_limit is not None:
        yield f"{path}.activation_limit", "limit and activation_limit both set", "remove one of them"
    yield from norm_faults(getattr(mlp, "inner_norm", None), f"{path}.inner_norm")
    if isinstance(mlp, GatedMlp) and mlp.beta is not None and mlp.activation != "silu":
        message = f"beta requires the activation silu, got {format_value(mlp.activation)}"
        yield f"{path}.beta", message, "remove the key"
    if isinstance(mlp, MoeMlp):
        if isinstance(mlp.expert, PlainMlp) and mlp.expert.groups != MlpGroups():
            yield f"{path}.expert.groups", "grouped projections are not supported in experts", "remove the key"
        if mlp.expert.activation == "xielu":
            message = "xielu has learned parameters and is not supported in experts"
            yield f"{path}.expert.activation", message, "use another activation"
        for key in ("gate_scale", "sparsity", "inner_norm", "adapter"):
            if not isinstance(getattr(mlp.expert, key, None), NoNorm | None):
                yield f"{path}.expert.{key}", f"{key} is not supported in experts", "remove the key"
        yield from mlp_faults(mlp.expert, f"{path}.expert")
        yield from mlp_faults(mlp.shared, f"{path}.shared")
        yield from _router_faults(mlp, path)
        for key in ("shared_gate", "shared_scale"):
            if getattr(mlp, key) and mlp.shared is None:
                yield f"{path}.{key}", "there is no shared expert", f"add `{path}.shared`, or remove the key"
        yield from norm_faults(mlp.router.norm, f"{path}.router.norm")
        if mlp.branch is not None:
            yield from norm_faults(mlp.branch.norm, f"{path}.branch.norm")
            if mlp.shared is None:
                yield f"{path}.branch", "there is no shared expert next to the branch", f"add `{path}.shared`"


def _router_faults(mlp: MoeMlp, path: str) -> Iterator[tuple[str, str, str]]:
    router, groups = mlp.router, mlp.router.groups
    count = mlp.experts + mlp.identity_experts
    if mlp.per_token > count:
        yield f"{path}.per_token", f"{mlp.per_token} experts per token of {count} experts", "use fewer"
    if mlp.identity_experts and (groups is not None or router.weighs == "input"):
        message = "identity experts are not supported with groups or weights on the input"
        yield f"{path}.identity_experts", message, "remove the key"
    if mlp.capacity is not None and mlp.per_token > 1:
        message = f"a capacity is not supported with {mlp.per_token} experts per token"
        yield f"{path}.capacity", message, "use one expert per token, or remove the key"
    if router.selection == "tokens":
        is_set = {
            "score": router.score == "sparsemixer",
            "over": router.over != "all",
            "selection_bias": router.selection_bias,
            "groups": groups is not None,
        }
        yield from key_faults(f"{path}.router", is_set, "a table selects the experts of a token", "remove the key")
    if router.score == "sparsemixer":
        is_set = {"over": router.over != "all", "selection_bias": router.selection_bias, "groups": groups is not None}
        yield from key_faults(f"{path}.router", is_set, "sparsemixer selects experts by their logits", "remove the key")
    elif router.jitter != 0.01:
        yield f"{path}.router.jitter", "only sparsemixer has a band", "remove the key, or use `score: sparsemixer`"
    if router.over == "chosen":
        if router.renormalize and router.score == "softmax":
            message = "a softmax over the chosen experts has the sum 1 already"
            yield f"{path}.router.renormalize", message, "remove the key"
        if groups is not None:
            message = "groups are selected by scores, which `over: chosen` computes after the selection"
            yield f"{path}.router.groups", message, "use `over: all`"
    if groups is None:
        return
    if mlp.experts % groups.count:
        message = f"{mlp.experts} experts are not a multiple of {groups.count} groups"
        yield f"{path}.router.groups.count", message, "use a divisor of `experts`"
        return
    size = mlp.experts // groups.count
    if groups.chosen > groups.count:
        message = f"{groups.chosen} groups per token, but there are {groups.count}"
        yield f"{path}.router.groups.chosen", message, "use fewer"
    elif mlp.per_token > groups.chosen * size:
        message = f"{mlp.per_token} experts per token, but the chosen groups have {groups.chosen * size}"
        yield f"{path}.router.groups.chosen", message, "select more groups"
    if groups.by == "top-2" and size < 2:
        yield f"{path}.router.groups.by", "top-2 requires groups of at least two experts", "use max"
