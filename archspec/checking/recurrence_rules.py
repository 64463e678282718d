"""Rules for recurrences: combinations of valid values that have no meaning or are not supported."""

from __future__ import annotations

from collections.abc import Iterator

from archc.archspec.checking.norm_rules import norm_faults
from archc.archspec.errors import format_value
from archc.archspec.vocabulary import MatrixState, OutputNorm, StepDecay


def matrix_state_faults(word: MatrixState) -> Iterator[tuple[str, str, str]]:
    """Yield path, message and hint of each fault of a matrix state."""
    if word.key_heads is not None and word.heads % word.key_heads:
        message = f"{word.heads} heads are not a multiple of {word.key_heads} key_heads"
        yield "recurrence.key_heads", message, "use a divisor of `heads`"
    if word.update == "add" and word.rate_scale != 1:
        yield "recurrence.rate_scale", "only the delta rule has a rate", "set `update: delta`, or remove the key"
    if isinstance(word.decay, StepDecay):
        if word.decay.most is not None and word.decay.most <= word.decay.least:
            message = f"expected more than least ({word.decay.least:g}), got {word.decay.most:g}"
            yield "recurrence.decay.most", message, "use a larger limit"
        if word.decay.over == "channels" and word.decay.scales_values:
            message = "values have one step size by head, and the decay has one by channel"
            yield "recurrence.decay.scales_values", message, "use `over: heads`, or remove the key"
    if isinstance(word.norm, OutputNorm):
        if word.values % word.norm.groups:
            message = f"{word.values} channels are not a multiple of {word.norm.groups} groups"
            yield "recurrence.norm.groups", message, "use a divisor of heads · value_dim"
        if word.norm.weights == "shared" and word.norm.groups == 1:
            yield "recurrence.norm.weights", "one group has one weight vector", "remove the key, or use more groups"
        if word.norm.weights == "shared" and not word.norm.affine:
            yield "recurrence.norm.weights", "the norm has no weight", "remove the key"
    elif word.gate is not None and word.gate.order == "before":
        message = f"there is no norm, and the order is {format_value(word.gate.order)}"
        yield "recurrence.gate.order", message, "remove the key, or add `norm`"
    yield from norm_faults(word.qk_norm, "recurrence.qk_norm")
    yield from norm_faults(word.norm, "recurrence.norm")
