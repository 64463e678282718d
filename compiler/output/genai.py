"""genai_config.json: the names and sizes by which onnxruntime-genai 0.18 passes a decoder's state on between calls.

It passes on keys and values, allocated by the shapes of the graph's inputs, and two states of fixed size for each layer
of a recurrence: `conv` and `recurrent`, whose names the file has as patterns, whose shapes are the same in all layers,
and which are found by those of `conv`. Layers with `conv` alone are the type `lfm2`, with a list of the layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archc.archspec import BoundSpec
from archc.compiler.weights.checkpoint.generation import SpecialTokens
from archc.plan.records import Shape, State

_NAME = re.compile(r"past_(key_values|conv|ssm|recurrent)\.(\d+)(?:\.(key|value))?")
_KEY, _VALUE, _CONV = "key", "value", "conv"
_RECURRENT = ("ssm", "recurrent")


class NotRunError(Exception):
    """A model that onnxruntime-genai does not run; the text is the reason."""


@dataclass
class _States:
    """The shapes of states by kind and layer."""

    shapes: dict[str, dict[int, Shape]] = field(default_factory=dict)

    def add(self, state: State) -> None:
        """Sort a state in; raises NotRunError for one without a name in the file."""
        match = _NAME.fullmatch(state.input)
        if match is None or (match[1] == "key_values") != (match[3] is not None):
            raise NotRunError(f"it has no name for the state {state.input}")
        self.shapes.setdefault(match[3] or match[1], {})[int(match[2])] = state.shape

    def layers(self, kind: str) -> Mapping[int, Shape]:
        """Return the shapes by layer."""
        return self.shapes.get(kind, {})

    def check(self) -> None:
        """Raise NotRunError for shapes that one allocation for all layers does not have."""
        if self.layers(_KEY) != self.layers(_VALUE):
            raise NotRunError("keys and values of a layer have different shapes")
        for kind in (_CONV, *_RECURRENT):
            if len(set(self.layers(kind).values())) > 1:
                raise NotRunError(f"the states past_{kind}.N have different shapes")

    def recurrent(self) -> str | None:
        """Return the kind of the recurrent states, None for convolutions alone or attention alone."""
        kinds = [kind for kind in _RECURRENT if self.layers(kind)]
        if len(kinds) > 1:
            raise NotRunError("past_ssm.N and past_recurrent.N in one model have no common pattern")
        if kinds and set(self.layers(kinds[0])) != set(self.layers(_CONV)):
            raise NotRunError(f"past_{kinds[0]}.N is found by past_conv.N, which not all of these layers have")
        return kinds[0] if kinds else None

    def layer_types(self, count: int) -> list[str]:
        """Return the list of the type `lfm2`: the state of each layer."""
        attention, conv = self.layers(_KEY), self.layers(_CONV)
        if set(attention) & set(conv) or len(attention) + len(conv) != count or len(set(attention.values())) > 1:
            raise NotRunError("convolutions without a recurrence require attention of one shape in all other layers")
        return [_CONV if layer in conv else "full_attention" for layer in range(count)]


def genai_config(spec: BoundSpec, states: Sequence[State], length: int, tokens: SpecialTokens) -> dict[str, Any]:
    """Return the configuration of a decoder with these states; `length` is the most tokens of a sequence.

    Raises NotRunError for a model that onnxruntime-genai does not run.
    """
    if spec.topology != "decoder":
        raise NotRunError("it generates with decoders alone")
    sorted_states = _States()
    for state in states:
        sorted_states.add(state)
    sorted_states.check()
    ends = list(tokens.eos)
    return {
        "model": {
            "type": "lfm2" if _has_convolutions_alone(sorted_states) else "decoder",
            **({} if tokens.bos is None else {"bos_token_id": tokens.bos}),
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": tokens.pad if tokens.pad is not None else (ends or [0])[0],
            "context_length": length,
            "vocab_size": spec.embedding.vocab,
            "decoder": _decoder(spec, sorted_states),
        },
        "search": {"do_sample": False, "max_length": length, "past_present_share_buffer": False},
    }


def _has_convolutions_alone(states: _States) -> bool:
    return states.recurrent() is None and bool(states.layers(_CONV))


def _decoder(spec: BoundSpec, states: _States) -> dict[str, Any]:
    """Return the section of the graph: its file, sizes, and the names of inputs and outputs."""
    names = {"key": "key_values.%d.key", "value": "key_values.%d.value"} if states.layers(_KEY) else {}
    if states.layers(_CONV):
        names["conv"] = "conv.%d"
    if (recurrent := states.recurrent()) is not None:
        names["recurrent"] = f"{recurrent}.%d"
    present = {kind: f"present_{name}".replace("_key_values", "") for kind, name in names.items()}
    sizes: dict[str, Any] = {}
    if keys := states.layers(_KEY):
        # Layers with other shapes are allocated by those of the graph's inputs.
        _, sizes["num_key_value_heads"], _, sizes["head_size"] = next(iter(keys.values()))
        heads = (getattr(layer.attention, "heads", None) for layer in spec.layers)
        sizes["num_attention_heads"] = next(count for count in heads if count is not None)
    if _has_convolutions_alone(states):
        sizes["layer_types"] = states.layer_types(len(spec.layers))
    return {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "hidden_size": spec.embedding.width,
        "num_hidden_layers": len(spec.layers),
        **sizes,
        "inputs": {name: name for name in ("input_ids", "attention_mask", "position_ids")}
        | {f"past_{kind}_names": f"past_{name}" for kind, name in names.items()},
        "outputs": {"logits": "logits"} | {f"present_{kind}_names": name for kind, name in present.items()},
    }
