"""The checks that every case passes. Each returns the largest difference that it measured, for the caller to judge."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from archc.compiler.build import load_torch, open_slots
from archc.compiler.contract.inputs_outputs import needs_lengths
from archc.compiler.contract.shared_inputs import SOURCE_MASK
from archc.compiler.modules.model import Model, meta_model
from archc.compiler.structure.model import structure
from archc.compiler.weights.slots import slot_shapes
from archc.proof.built import Built
from archc.proof.case import Ids, Outputs
from archc.proof.failure import require
from archc.proof.portable import block_places, run_encoder, run_portable

TOLERANCE = 1e-4
Array = NDArray[Any]


def check_slots(built: Built) -> float:
    """Check that the weight table reads every tensor of the checkpoint whole and once, or not at all.

    Each tensor is filled with a label; the slots must hold every label as often as its tensor has elements. The
    labels that slots hold make up the reference's parameters; the rest is buffers and unused heads. A tensor that
    `weights.ignore` lists, too, may be read in part.
    """
    topology = built.bound.topology
    require(topology == built.case.topology, f"the topology is {topology}, expected {built.case.topology}")
    unsound = [name for name, value in built.module.named_parameters() if not bool(torch.isfinite(value).all())]
    require(not unsound, f"not finite: {', '.join(unsound[:3])}")
    folder, sizes = labeled_checkpoint(built.checkpoint, built.folder / "labeled")
    model = meta_model(built.bound)
    assert list(structure(built.bound).slots()) == list(slot_shapes(model).items())
    counts = Counter[float]()
    for parameter in load_torch(model, open_slots(built.bound, model, folder, None)).parameters():
        assert parameter.device.type == "cpu"
        labels, repeats = torch.unique(parameter.detach(), return_counts=True)
        counts.update(dict(zip(labels.tolist(), repeats.tolist(), strict=True)))
    partly_read = {
        name: count
        for label, (name, size) in sizes.items()
        if (count := counts[label]) not in (0, size)
        and not any(fnmatchcase(name, pattern) for pattern in built.bound.weights.ignore)
    }
    require(not partly_read, f"tensors of which only a part fills slots, or more than once: {partly_read}")
    # A step that normalizes rows leaves no label: its tensor counts as one that is not read.
    unlabeled = sum(count for label, count in counts.items() if label not in sizes)
    unread = [size for label, (_, size) in sizes.items() if not counts[label]]
    require(unlabeled in (0, *unread), f"{unlabeled} elements of slots are of no tensor")
    _require_count(counts.total(), built)
    return 0.0


def _require_count(parameters: int, built: Built) -> None:
    expected = built.reference.parameters
    require(parameters == expected, f"{parameters:,} parameters, but {expected:,} of the reference")


def labeled_checkpoint(checkpoint: Path, folder: Path) -> tuple[Path, dict[float, tuple[str, int]]]:
    """Copy a checkpoint, filling its tensors with labels; return each label's first tensor and number of elements.

    Equal tensors get the same label, because tied weights are stored more than once in some checkpoints.
    """
    shutil.copytree(checkpoint, folder)
    labels: dict[bytes, float] = {}
    sizes: dict[float, tuple[str, int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if tensor.dtype != torch.bool:
                content = hashlib.sha256(tensor.numpy().tobytes()).digest()
                label = labels.setdefault(content, len(labels) + 1.0)
                sizes.setdefault(label, (name, tensor.numel()))
                tensors[name] = torch.full_like(tensor, label)
        save_file(tensors, file, {"format": "pt"})
    return folder, sizes


def check_parameters(built: Built) -> float:
    """Check that the parameter count equals the reference's."""
    _require_count(structure(built.bound).parameters, built)
    _require_count(built.engine.manifest.parameters, built)
    return 0.0


def check_plan(built: Built) -> float:
    """Compare the plan for the CPU with the reference on whole sequences."""
    ids, types, source = inputs_of(built)
    return largest_difference(plan_outputs(built, ids, types, source), reference_outputs(built, ids, types, source))


def check_torch(built: Built) -> float:
    """Compare the torch module with the reference on whole sequences."""
    ids, types, source = inputs_of(built)
    outputs = torch_outputs(built.module, ids, types, source)
    return largest_difference(outputs, reference_outputs(built, ids, types, source))


def check_portable(built: Built) -> float:
    """Compare the portable graph in plain ONNX Runtime with the reference: a prefill, then single tokens."""
    ids, types, source = inputs_of(built)
    first = built.case.length - 4
    encoded = run_encoder(built.encoder_session, built.manifest, source) if source is not None else None
    outputs = run_portable(built.session, built.manifest, ids, types, first, encoded)
    if built.case.depends_on_calls:
        sizes = [first, *[1] * (built.case.length - first)]
        rows = [reference_in_steps(built, row, sizes, source[i] if source else None) for i, row in enumerate(ids)]
        logits = np.stack(rows)
        return largest_difference(outputs, {"logits": logits})
    return largest_difference(outputs, reference_outputs(built, ids, types, source))


def inputs_of(built: Built) -> tuple[Ids, Ids | None, Ids | None]:
    """Return two whole prompts, their token types, and the encoder's inputs; None where the family has none."""
    length = built.case.length
    return built.ids(2, length), built.token_types(2, length), built.sources(2, length - 2)


def check_cache(built: Built) -> float:
    """Compare calls of one token, of three and of random sizes with the reference at every position."""
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
        sizes = with_first_call_of(len(built.case.lead), sizes)
        sequences = built.engine.sequences(1, 2, sources)  # a small capacity, so that the cache grows
        logits = append_all(sequences, [ids], sizes)[0]
        expected = reference_in_steps(built, ids, sizes, source)
        worst = max(worst, difference(logits, expected))
    return max(worst, _check_last_logits(built, ids, sizes, expected))


def _check_last_logits(built: Built, ids: list[int], sizes: Sequence[int], expected: Array) -> float:
    """Compare the last token's logits after calls that compute none."""
    sequences, start = built.engine.sequences(1, source=built.sources(1, built.case.length - 3)), 0
    for size in sizes[:-1]:
        assert sequences.append([ids[start : start + size]], logits="none") is None
        start += size
    return difference(sequences.append([ids[start:]])[0], expected[-1])


def check_ragged(built: Built) -> float:
    """Compare rows of several lengths in one call, and for decoders in a second one, with each row alone."""
    length = built.case.length
    lengths = [length - 2, max(3, len(built.case.lead)), length // 2]
    rows = [row[:n] for row, n in zip(built.ids(3, length), lengths, strict=True)]
    types = built.token_types(3, length)
    if not built.is_decoder:
        return _ragged_encoder(
            built, rows, None if types is None else [t[:n] for t, n in zip(types, lengths, strict=True)]
        )
    more = [row[:n] for row, n in zip(built.ids(3, 2, seed=1, with_lead=False), [1, 2, 2], strict=True)]
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
        alone = reference_in_steps(built, [*row, *extra], [len(row), len(extra)], source)
        worst = max(worst, difference(first[index, : len(row)], alone[: len(row)]))
        worst = max(worst, difference(second[index, : len(extra)], alone[len(row) :]))
    return worst


def _ragged_encoder(built: Built, rows: list[list[int]], types: list[list[int]] | None) -> float:
    outputs = plan_outputs(built, rows, None if types is None else padded(types).clip(min=0))
    worst = 0.0
    for index, row in enumerate(rows):
        alone = built.reference.outputs([row], None if types is None else [types[index]])
        for role, values in outputs.items():
            of_row = values[index] if values.ndim == 2 else values[index, : len(row)]
            worst = max(worst, difference(of_row, alone[role][0]))
    return worst


def plan_outputs(built: Built, ids: Ids, types: Ids | Array | None, source: Ids | None = None) -> dict[str, Array]:
    """Return all outputs of the plan's engine by role."""
    if source is not None:
        return {"logits": built.engine.logits(source, types, ids), "hidden_states": built.engine.encode(source)}
    engine = built.engine
    calls = {
        "logits": engine.logits,
        "hidden_states": engine.encode,
        "pooled": engine.pooled,
        "classes": engine.classify,
    }
    return {role: calls[role](ids, types) for role in built.roles()}


def reference_outputs(built: Built, ids: Ids, types: Ids | None, source: Ids | None = None) -> Outputs:
    """Return the reference's outputs of the plan's roles; KeyError if it lacks one."""
    outputs = built.reference.outputs(ids, types, source) if source is not None else built.reference.outputs(ids, types)
    return {role: outputs[role] for role in built.roles()}


def reference_in_steps(built: Built, ids: Sequence[int], sizes: Sequence[int], source: Sequence[int] | None) -> Array:
    """Return the reference's logits of one row in calls of the given sizes."""
    more = {} if source is None else {"source": source}
    return built.reference.in_steps(ids, sizes, **more)


def prompt_end(module: Model, ids: Ids) -> int:
    """Return the prompt's length of a prefix LM; it is the same for all rows."""
    assert module.spec.prefix is not None
    (end,) = {list(row).index(module.spec.prefix.end) for row in ids}
    return end


def torch_outputs(module: Model, ids: Ids, token_type_ids: Ids | None, source: Ids | None = None) -> dict[str, Array]:
    """Run the torch module once without a cache, with masks computed here."""
    hidden, masks, states = {}, {}, None
    if module.encoder is not None:
        assert source is not None
        hidden = torch_outputs(module.encoder, source, None)
        with torch.no_grad():
            states = module.encoder_kv(torch.from_numpy(hidden["hidden_states"]))
        masks[SOURCE_MASK] = torch.ones(len(source), 1, len(ids[0]), len(source[0]), dtype=torch.bool)
    tokens = torch.tensor(ids)
    batch, seq = tokens.shape
    position = torch.arange(seq)
    distance = position[:, None] - position
    for name, mask in module.shared_inputs.masks.items():
        visible = distance >= 0 if mask.causal else torch.ones(seq, seq, dtype=torch.bool)
        if mask.prefix:
            visible = visible | (position < prompt_end(module, ids))
        if mask.window is not None:
            near = distance < mask.window if mask.causal else distance.abs() <= mask.window
            chunk = position // mask.window
            visible = visible & (chunk[:, None] == chunk if mask.chunked else near)
        masks[name] = visible.expand(batch, 1, seq, seq)
    positions = position.expand(batch, seq)
    blocks = None
    if module.shared_inputs.block_positions:
        assert module.spec.prefix is not None
        blocks = torch.from_numpy(block_places(ids, module.spec.prefix.end, module.spec.prefix.blanks))
    types = None if token_type_ids is None else torch.tensor(token_type_ids)
    with torch.no_grad():
        lengths = torch.full((batch,), seq) if needs_lengths(module.spec) and not module.cached else None
        outputs = module(tokens, masks, positions, types, positions, states, None, lengths, block_position_ids=blocks)
    by_role = {"logits": outputs.logits, "pooled": outputs.pooled, "classes": outputs.classes}
    if not module.cached:
        by_role["hidden_states"] = outputs.hidden_states
    return hidden | {role: value.numpy() for role, value in by_role.items() if value is not None}


def with_first_call_of(count: int, sizes: Sequence[int]) -> list[int]:
    """Join the first sizes of calls until the first call has at least `count` tokens."""
    joined = 0
    while joined < len(sizes) and sum(sizes[:joined]) < count:
        joined += 1
    return [sum(sizes[:joined]), *sizes[joined:]] if count else list(sizes)


def append_all(sequences: Any, rows: Ids, sizes: Sequence[int]) -> Array:
    """Return logits [batch, seq, vocab] of rows of one length, fed in calls of the given sizes."""
    tokens, logits, start = np.array(rows), [], 0
    for size in sizes:
        logits.append(sequences.append(tokens[:, start : start + size], logits="all"))
        start += size
    assert start == tokens.shape[1]
    return np.concatenate(logits, axis=1)


def padded(rows: Ids) -> NDArray[np.int64]:
    """Return rows of several lengths as one array, padded with −1 on the right."""
    width = max(map(len, rows))
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows])


def largest_difference(outputs: Outputs, expected: Outputs) -> float:
    """Return the largest difference of two sets of outputs; they must have the same roles."""
    require(outputs.keys() == expected.keys(), f"outputs {sorted(outputs)}, but {sorted(expected)} of the reference")
    return max(difference(outputs[role], expected[role]) for role in expected)


def difference(values: Array, expected: Array) -> float:
    """Return the largest difference of two arrays of one shape, infinity if either has a non-finite number."""
    require(values.shape == expected.shape, f"the shape is {list(values.shape)}, expected {list(expected.shape)}")
    gap = np.abs(values.astype(np.float64) - expected)
    return float(gap.max()) if np.isfinite(gap).all() else float("inf")
