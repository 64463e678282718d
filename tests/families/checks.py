"""The checks that every case passes. Each gives the largest difference that it saw; none has a tolerance of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archc.compiler.contract.shared_inputs import SOURCE_MASK
from archc.compiler.modules.cost import parameter_count
from archc.compiler.modules.model import Model, meta_model
from tests.families.built import Built
from tests.families.case import Ids, Outputs
from tests.families.portable import block_places, run_encoder, run_portable

TOLERANCE = 1e-4
Array = NDArray[Any]


def check_slots(built: Built) -> float:
    """The weight table fills every slot, and reads nothing else."""
    assert built.bound.topology == built.case.topology
    slots = dict(built.module.named_parameters())
    model = meta_model(built.bound)
    assert {name: p.shape for name, p in slots.items()} == {name: p.shape for name, p in model.named_parameters()}
    assert all(p.device.type == "cpu" and bool(torch.isfinite(p).all()) for p in slots.values())
    return 0.0


def check_parameters(built: Built) -> float:
    """As many numbers as the reference has."""
    assert parameter_count(built.module) == built.reference.parameters
    assert built.engine.manifest.parameters == built.reference.parameters
    return 0.0


def check_plan(built: Built) -> float:
    """The plan for the CPU, whole sequences."""
    ids, types, source = inputs_of(built)
    return largest(outputs_of(built, ids, types, source), expected(built, ids, types, source))


def check_torch(built: Built) -> float:
    """The torch module, whole sequences."""
    ids, types, source = inputs_of(built)
    return largest(torch_outputs(built.module, ids, types, source), expected(built, ids, types, source))


def check_portable(built: Built) -> float:
    """The portable graph in plain ONNX Runtime: a prefill, then single tokens."""
    ids, types, source = inputs_of(built)
    first = built.case.length - 4
    crossed = run_encoder(built.encoder_session, built.manifest, source) if source is not None else None
    got = run_portable(built.session, built.manifest, ids, types, first, crossed)
    if built.case.depends_on_calls:
        sizes = [first, *[1] * (built.case.length - first)]
        return largest(got, {"logits": np.stack([built.reference.in_steps(row, sizes) for row in ids])})
    return largest(got, expected(built, ids, types, source))


def inputs_of(built: Built) -> tuple[Ids, Ids | None, Ids | None]:
    """Two whole prompts, their token types where the family has them, and the sources that they answer."""
    length = built.case.length
    return built.ids(2, length), built.token_types(2, length), built.sources(2, length - 2)


def check_cache(built: Built) -> float:
    """Steps of one, of three and of random sizes, at every position."""
    length = built.case.length
    ids, sources = built.ids(1, length)[0], built.sources(1, length - 3)
    source = sources[0] if sources else None
    random = np.random.default_rng(3)
    cuts = np.sort(random.choice(np.arange(1, length), size=min(4, length - 1), replace=False))
    worst = 0.0
    for sizes in (
        [1] * length,
        [3] * (length // 3) + [length % 3] * bool(length % 3),
        np.diff([0, *cuts, length]).tolist(),
    ):
        sizes = beginning_with(len(built.case.lead), sizes)
        sequences = built.engine.sequences(1, 2, sources)  # little room at first: the cache grows on the way
        logits = append_all(sequences, [ids], sizes)[0]
        wanted = in_steps(built, ids, sizes, source)
        worst = max(worst, difference(logits, wanted))
    return max(worst, _check_asked(built, ids, sizes, wanted))


def _check_asked(built: Built, ids: list[int], sizes: Sequence[int], wanted: Array) -> float:
    """Calls that ask for no logits, and one that asks for the last token's."""
    sequences, start = built.engine.sequences(1, source=built.sources(1, built.case.length - 3)), 0
    for size in sizes[:-1]:
        assert sequences.append([ids[start : start + size]], logits="none") is None
        start += size
    return difference(sequences.append([ids[start:]])[0], wanted[-1])


def check_ragged(built: Built) -> float:
    """Rows of several lengths in one call, and for decoders a second ragged call, against each row alone."""
    length = built.case.length
    lengths = [length - 2, max(3, len(built.case.lead)), length // 2]
    rows = [row[:n] for row, n in zip(built.ids(3, length), lengths, strict=True)]
    types = built.token_types(3, length)
    if not built.is_decoder:
        return _ragged_encoder(
            built, rows, None if types is None else [t[:n] for t, n in zip(types, lengths, strict=True)]
        )
    more = [row[:n] for row, n in zip(built.ids(3, 2, seed=1, begin=False), [1, 2, 2], strict=True)]
    sources = built.sources(3, length)
    if sources is not None:
        sources = [row[:n] for row, n in zip(sources, [length // 2, length, 1], strict=True)]
    sequences = built.engine.sequences(3, source=None if sources is None else padded(sources))
    worst = 0.0
    first, second = (sequences.append(padded(part), logits="all") for part in (rows, more))
    assert first is not None
    assert second is not None
    for index, (row, extra) in enumerate(zip(rows, more, strict=True)):
        source = sources[index] if sources is not None else None
        alone = in_steps(built, [*row, *extra], [len(row), len(extra)], source)
        worst = max(worst, difference(first[index, : len(row)], alone[: len(row)]))
        worst = max(worst, difference(second[index, : len(extra)], alone[len(row) :]))
    return worst


def _ragged_encoder(built: Built, rows: list[list[int]], types: list[list[int]] | None) -> float:
    got = outputs_of(built, rows, None if types is None else padded(types).clip(min=0))
    worst = 0.0
    for index, row in enumerate(rows):
        alone = built.reference.outputs([row], None if types is None else [types[index]])
        for role, values in got.items():
            mine = values[index] if role == "pooled" else values[index, : len(row)]
            worst = max(worst, difference(mine, alone[role][0]))
    return worst


def outputs_of(built: Built, ids: Ids, types: Ids | Array | None, source: Ids | None = None) -> dict[str, Array]:
    """Everything that the plan's engine gives for rows of ids, by role."""
    if source is not None:
        return {"logits": built.engine.logits(source, types, ids), "hidden_states": built.engine.encode(source)}
    calls = {"logits": built.engine.logits, "hidden_states": built.engine.encode, "pooled": built.engine.pooled}
    return {role: calls[role](ids, types) for role in built.roles()}


def expected(built: Built, ids: Ids, types: Ids | None, source: Ids | None = None) -> Outputs:
    """What the reference computes, of the roles that the plan has; it must have them all."""
    outputs = built.reference.outputs(ids, types, source) if source is not None else built.reference.outputs(ids, types)
    return {role: outputs[role] for role in built.roles()}


def in_steps(built: Built, ids: Sequence[int], sizes: Sequence[int], source: Sequence[int] | None) -> Array:
    """The reference's logits of one row, its source where it answers one."""
    more = {} if source is None else {"source": source}
    return built.reference.in_steps(ids, sizes, **more)


def prompt_end(module: Model, ids: Ids) -> int:
    """How many tokens every row's prompt has; the rows of one call begin alike."""
    (end,) = {list(row).index(module.spec.prefix.end) for row in ids}
    return end


def torch_outputs(module: Model, ids: Ids, token_type_ids: Ids | None, source: Ids | None = None) -> dict[str, Array]:
    """One call of the torch module without a cache, its masks made by hand."""
    hidden, masks, states = {}, {}, None
    if module.encoder is not None:
        hidden = torch_outputs(module.encoder, source, None)
        with torch.no_grad():
            states = module.encoder_kv(torch.from_numpy(hidden["hidden_states"]))
        masks[SOURCE_MASK] = torch.ones(len(source), 1, len(ids[0]), len(source[0]), dtype=torch.bool)
    tokens = torch.tensor(ids)
    batch, seq = tokens.shape
    position = torch.arange(seq)
    distance = position[:, None] - position
    for name, mask in module.wiring.masks.items():
        seen = distance >= 0 if mask.causal else torch.ones(seq, seq, dtype=torch.bool)
        if mask.prefix:
            seen = seen | (position < prompt_end(module, ids))
        if mask.window is not None:
            near = distance < mask.window if mask.causal else distance.abs() <= mask.window
            seen = seen & near
        masks[name] = seen.expand(batch, 1, seq, seq)
    positions = position.expand(batch, seq)
    blocks = None
    if module.wiring.block_positions:
        blocks = torch.from_numpy(block_places(ids, module.spec.prefix.end, module.spec.prefix.blanks))
    types = None if token_type_ids is None else torch.tensor(token_type_ids)
    with torch.no_grad():
        outputs = module(tokens, masks, positions, types, positions, states, block_position_ids=blocks)
    found = {"logits": outputs.logits, "pooled": outputs.pooled}
    if not module.cached:
        found["hidden_states"] = outputs.hidden_states
    return hidden | {role: value.numpy() for role, value in found.items() if value is not None}


def beginning_with(count: int, sizes: Sequence[int]) -> list[int]:
    """The sizes of calls, the first ones joined until they take in `count` tokens."""
    joined = 0
    while joined < len(sizes) and sum(sizes[:joined]) < count:
        joined += 1
    return [sum(sizes[:joined]), *sizes[joined:]] if count else list(sizes)


def append_all(sequences: Any, rows: Ids, sizes: Sequence[int]) -> Array:
    """Logits [batch, seq, vocab] of rows of one length, taken in by calls of the given sizes."""
    tokens, logits, start = np.array(rows), [], 0
    for size in sizes:
        logits.append(sequences.append(tokens[:, start : start + size], logits="all"))
        start += size
    assert start == tokens.shape[1]
    return np.concatenate(logits, axis=1)


def padded(rows: Ids) -> NDArray[np.int64]:
    """Rows of several lengths as one array, −1 on the right."""
    width = max(map(len, rows))
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows])


def largest(got: Outputs, wanted: Outputs) -> float:
    """The largest difference of two sets of outputs, which must have the same roles."""
    assert got.keys() == wanted.keys()
    return max(difference(got[role], wanted[role]) for role in wanted)


def difference(got: Array, wanted: Array) -> float:
    """The largest difference of two arrays of one shape; infinite where either holds something that is no number."""
    assert got.shape == wanted.shape, f"{got.shape} is not {wanted.shape}"
    gap = np.abs(got.astype(np.float64) - wanted)
    return float(gap.max()) if np.isfinite(gap).all() else float("inf")
