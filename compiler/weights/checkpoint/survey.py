"""The use that a spec makes of a checkpoint's tensors, whether or not its weight table fits them."""

from __future__ import annotations

from pathlib import Path

from archc.archspec import BoundSpec
from archc.archspec.weights.resolve import Survey, Use
from archc.compiler.modules.model import Model
from archc.compiler.weights.checkpoint.module_weights import module_sources, open_checkpoint
from archc.compiler.weights.checkpoint.names import tied_slots, without_replaced
from archc.compiler.weights.packings.packing import PackedWeights
from archc.compiler.weights.slots import slot_shapes


def survey_checkpoint(spec: BoundSpec, model: Model, folder: Path) -> Survey:
    """Return the use of each stored tensor of a checkpoint, and the slots that none fills.

    The parts of a packed weight have the use of the weight. Raises BuildError for damaged files.
    """
    weights = open_checkpoint(spec, folder)
    own = module_sources(spec, folder, weights.names())
    names = [name for name in without_replaced(spec, weights.names(), bool(own)) if name not in own.values()]
    slots = {name: shape for name, shape in slot_shapes(model).items() if name not in own}
    survey = spec.weights.survey(slots, names, tied_slots(model))
    uses: dict[str, Use] = {**dict.fromkeys(weights.names(), "ignored"), **survey.uses}
    uses |= dict.fromkeys(own.values(), "read")
    if isinstance(weights, PackedWeights):
        packed = {part: uses[name] for name, weight in weights.packed.items() for part in weight.parts}
        uses = {name: packed.get(name, uses.get(name, "ignored")) for name in weights.stored.names()}
    return Survey(uses, survey.unfilled)
