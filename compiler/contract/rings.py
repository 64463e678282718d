"""Ring buffers for sliding windows: a cache that holds a window and one call, for any length of the sequence.

A ring differs from a growing cache in one attribute of the graph: entries that reach its end continue at its start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract import inputs_outputs
from archc.compiler.contract.shared_inputs import SharedInputs
from archc.plan.axes import ring_slots

# Longer prompts are split into calls of this many tokens: enough for the arithmetic units, and the memory of a call in
# addition to the weights (the scores of every head) stays bounded.
LONGEST_CALL = 512
_SHORTEST = 64


@dataclass(frozen=True)
class Rings:
    """The layers with ring buffers: the window of each, and of the masks and states by name."""

    windows: dict[int, int] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)


def longest_call(spec: BoundSpec) -> int | None:
    """Return the most tokens of one call; None if a prompt must be one call.

    It must if its length changes the rotation of its tokens or their mask.
    """
    by_length = (words.DynamicScaling, words.PromptNtkScaling, words.LongRopeScaling)
    if not inputs_outputs.has_cache(spec) or spec.prefix is not None:
        return None
    if any(isinstance(getattr(layer.position, "scaling", None), by_length) for layer in spec.layers):
        return None
    windows = [window for layer in spec.layers if (window := _window(layer)) is not None]
    # A ring has room for a window and a call: a call much longer than the window would be most of it.
    return min([LONGEST_CALL, *(max(_SHORTEST, window) for window in windows)])


def find_rings(spec: BoundSpec, shared: SharedInputs, longest: int) -> Rings:
    """Return the rings of the layers whose window and one call need fewer slots than the longest sequence."""
    call = longest_call(spec)
    if call is None:
        return Rings()
    # Layers of one window share a mask, and biases by distance count a mask's keys as positions.
    by_distance = (words.Alibi, words.RelativeBuckets)
    counted = {_window(layer) for layer in spec.layers if isinstance(layer.position, by_distance)}
    windows = {
        index: window
        for index, layer in enumerate(spec.layers)
        if (window := _window(layer)) is not None and window not in counted and ring_slots(window, call) < longest
    }
    masks = {mask: window for index, window in windows.items() if (mask := shared.layers[index].mask) is not None}
    return Rings(windows, masks, dict(_states(spec, windows)))


def _window(layer: words.Layer) -> int | None:
    """Return the window of a layer's attention, or None."""
    return getattr(layer.attention, "window", None)


def _states(spec: BoundSpec, windows: dict[int, int]) -> Iterator[tuple[str, int]]:
    for index, window in windows.items():
        for name, state in inputs_outputs.layer_states(spec, index, "float32").items():
            if state.kind == "kv":
                yield inputs_outputs.past_name(index, name), window
