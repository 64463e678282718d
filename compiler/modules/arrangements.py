"""The arrangements of a layer's branches: each a function of the layer, its input, the shared inputs and its state.

All return the residual stream after the layer, [B, S, N] as the input, and the new state of the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import EMBEDDED, SHORTCUT
from archc.compiler.contract.state import State
from archc.compiler.modules.layer_inputs import LayerInputs

if TYPE_CHECKING:
    from archc.compiler.modules.layer import Layer

Result = tuple[Tensor, dict[str, Tensor]]
Arrangement = Callable[["Layer", Tensor, LayerInputs, State], Result]


def arrangement(word: words.Layer) -> Arrangement:
    """Return the arrangement of a layer's word."""
    if isinstance(word.streams, words.HyperConnections | words.GatedStreams):
        return hyper_connected
    if word.residual == "parallel":
        return parallel
    if word.front is not None:
        return behind_front
    return post_norm if getattr(word.norm, "placement", "pre") == "post" else sequential


def sequential(layer: Layer, x_BSN: Tensor, inputs: LayerInputs, state: State) -> Result:
    """x + norm(branch(norm(x))) for each branch, with the norms that the layer has (Xiong et al. 2020)."""
    present: dict[str, Tensor] = {}
    if layer.mixers:
        normed = layer.mixer_norm(x_BSN)
        y, present = layer.mix(normed, inputs, state)
        x_BSN = layer.add(x_BSN, normed, layer.mixer_output_norm(y))
        x_BSN = x_BSN if layer.laurel is None else layer.laurel(x_BSN, normed)
    if layer.cross_attention is not None:
        normed = layer.cross_norm(x_BSN)
        y = layer.cross_output_norm(layer.attend_to_source(normed, inputs, state))
        x_BSN = layer.add(x_BSN, normed, y)
    if layer.word.mlp is None:
        return x_BSN, present
    normed = layer.mlp_norm(x_BSN)
    y = layer.mlp_output_norm(layer.mlp_branch(normed, x_BSN, inputs, state, present))
    if layer.shortcut is not None:
        present[SHORTCUT] = layer.shortcut(normed, x_BSN, inputs.input_ids_BS)
    x_BSN = layer.add(x_BSN, normed, y, is_mlp=True)
    return x_BSN + inputs.cross_layer[SHORTCUT] if layer.word.adds_shortcut else x_BSN, present


def post_norm(layer: Layer, x_BSN: Tensor, inputs: LayerInputs, state: State) -> Result:
    """norm(x + branch(x)) for each branch (Vaswani et al. 2017), and norm(h + adapter(h)) of the MLP's h."""
    present: dict[str, Tensor] = {}
    if layer.mixers:
        y, present = layer.mix(x_BSN, inputs, state)
        x_BSN = layer.mixer_norm(layer.add(x_BSN, x_BSN, y))
    if layer.cross_attention is not None:
        y = layer.attend_to_source(x_BSN, inputs, state)
        x_BSN = layer.cross_norm(layer.add(x_BSN, x_BSN, y))
    if layer.word.mlp is None:
        return x_BSN, present
    y = layer.mlp_branch(x_BSN, x_BSN, inputs, state, present)
    x_BSN = layer.mlp_norm(layer.add(x_BSN, x_BSN, y, is_mlp=True))
    return x_BSN if layer.adapter is None else layer.mlp_norm(x_BSN + layer.adapter(x_BSN)), present


def parallel(layer: Layer, x_BSN: Tensor, inputs: LayerInputs, state: State) -> Result:
    """x + mixer(norm(x)) + mlp(norm(x)) (Wang & Komatsuzaki 2021), with one norm or two."""
    mixer_input = layer.mixer_norm(x_BSN)
    mlp_input = mixer_input if getattr(layer.word.norm, "shared", False) else layer.mlp_norm(x_BSN)
    y, present = layer.mix(mixer_input, inputs, state)
    mlp_output = layer.mlp_branch(mlp_input, x_BSN, inputs, state, present)
    branches = layer.mixer_output_norm(y) + layer.mlp_output_norm(mlp_output)
    return layer.add(x_BSN, mixer_input, branches), present


def hyper_connected(layer: Layer, x_BSM: Tensor, inputs: LayerInputs, state: State) -> Result:
    """Several streams, [B, S, M] together: each branch reads a weighted sum of them and is added to all of them."""
    present: dict[str, Tensor] = {}
    if layer.mixer_streams is not None:
        input_BSN, weights = layer.mixer_streams.read(x_BSM)
        y, present = layer.mix(layer.mixer_norm(input_BSN), inputs, state)
        x_BSM = layer.mixer_streams.write(x_BSM, layer.scale_branch(layer.mixer_output_norm(y)), weights)
    if layer.mlp_streams is not None:
        input_BSN, weights = layer.mlp_streams.read(x_BSM)
        y = layer.mlp_output_norm(layer.mlp_branch(layer.mlp_norm(input_BSN), input_BSN, inputs, state, present))
        x_BSM = layer.mlp_streams.write(x_BSM, layer.scale_branch(y, is_mlp=True), weights)
    return x_BSM, present


def behind_front(layer: Layer, x_BSN: Tensor, inputs: LayerInputs, state: State) -> Result:
    """x + recurrence(norm(x + W mlp(norm(attention(norm([x, e])))))) for the embedding e (Glorioso et al. 2024)."""
    assert layer.front is not None
    y, attended = layer.attention(layer.front.enter(x_BSN, inputs.cross_layer[EMBEDDED]), inputs, state)
    y = layer.mlp(layer.mlp_norm(y))
    y, present = layer.recurrence(layer.mixer_norm(layer.front.leave(x_BSN, y)), inputs, state)
    return layer.add(x_BSN, x_BSN, y), attended | present
