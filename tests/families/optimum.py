"""The layout of Optimum's exports in plain ONNX Runtime: calls with growing caches, and rows with padding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from archc.archspec import vocabulary as words
from archc.compiler.errors import BuildError
from archc.compiler.passes.growing_caches import ATTENTION_MASK
from archc.proof.built import Built, open_session
from archc.proof.checks import Array
from archc.runtime.engine import load
from archc.verify.plan_outputs import plan_outputs

PAD = 3  # tokens
_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
GRAPHS = ("encoder_model", "decoder_model_merged")
_NAMES = {"hidden_states": "last_hidden_state", "pooled": "pooler_output", "classes": "logits", "logits": "logits"}


def check_optimum(built: Built) -> float:
    """Return the largest difference from the reference; a graph without this layout must be refused by name."""
    if not has_layout(built):
        with pytest.raises(BuildError, match=r"target onnx-hf: .*choose the target onnx"):
            built.build_from(built.graphs, "optimum", "onnx-hf", "float32")
        return 0.0
    folder = built.build_from(built.graphs, "optimum", "onnx-hf", "float32")
    opened = _engine(built, folder)
    if built.is_encoder_decoder:
        sessions = (open_session(folder / f"{name}.onnx") for name in GRAPHS)
        return max(opened, _encoder_decoder(built, *sessions))
    session = open_session(folder / "model.onnx")
    return max(opened, _decoder(built, session) if built.is_decoder else _encoder(built, session))


def _engine(built: Built, folder: Path) -> float:
    """Compare archc's runtime on the folder with that on the plan, for rows of two lengths and two more tokens."""
    length, results = built.case.length, []
    ids, sources = built.ids(2, length), built.sources(2, length)
    ids[1] = ids[1][: length - PAD]
    if sources is not None:
        sources[1] = sources[1][: length - PAD]
    with load(folder, threads=1) as opened:
        for engine in (built.engine, opened):
            if not built.is_decoder:
                results.append(plan_outputs(engine, ids, []))
                continue
            sequences = engine.sequences(2, source=sources)
            calls = [[row[:-2] for row in ids], *([[row[at]] for row in ids] for at in (-2, -1))]
            results.append({"logits": [row for call in calls for row in sequences.append(call)]})
    pairs = [pair for role in results[0] for pair in zip(results[0][role], results[1][role], strict=True)]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def has_layout(built: Built) -> bool:
    """Return whether the masks of a model depend on the positions of tokens alone, and caches have slots for tokens."""
    manifest = built.manifest
    masks = {entry["mask"]["kind"] for entry in manifest["inputs"] if entry["role"] == "mask"}
    in_blocks = any(entry["role"] == "block_positions" for entry in manifest["inputs"])
    of_blocks = any(state["kind"] == "block" for state in manifest["state"])
    return masks <= {"causal", "bidirectional", "source"} and not in_blocks and not of_blocks


def _decoder(built: Built, session: InferenceSession) -> float:
    """Compare a prompt in one call and two more tokens, with padding on the left of the second row.

    Next to a cache that grows, recurrences read padding on the right alone.
    """
    length = built.case.length
    pad = 0 if built.case.depends_on_calls or built.case.lead or _reads_places(built) else PAD
    ids = built.ids(2, length)
    sizes = [length - 2, 1, 1]
    expected = [_logits(built, ids[0], sizes), _logits(built, ids[1][: length - pad], sizes)]
    kinds = {state["kind"] for state in built.manifest["state"]}
    begin = length - 2 - pad if kinds > {"fixed"} else 0
    short = ids[1][: length - pad]
    rows = np.array([ids[0], short[:begin] + [0] * pad + short[begin:]])
    places = np.arange(length)
    seen = (places < begin) | (places >= begin + pad)
    mask = np.stack([np.ones_like(places), seen])
    logits = np.concatenate(run_calls(session, rows, mask, sizes), axis=1)
    found = [logits[0], logits[1, seen]]
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


def _reads_places(built: Built) -> bool:
    """Return whether the place of a key in its row, which padding changes, rounds a bias or selects a block."""
    layers = built.bound.layers
    biases = [layer.position for layer in layers if isinstance(layer.position, words.Alibi)]
    indexers = [layer.attention.indexer for layer in layers if layer.attention is not None]
    blocks = (words.BlockIndexer, words.PooledBlockIndexer)
    return any(bias.rounding == "bfloat16" for bias in biases) or any(isinstance(item, blocks) for item in indexers)


def _logits(built: Built, ids: Sequence[int], sizes: Sequence[int]) -> Array:
    if built.case.depends_on_calls:
        return built.reference.in_steps(ids, sizes)
    logits: Array = built.reference.outputs([list(ids)])["logits"][0]
    return logits


def run_calls(
    session: InferenceSession, rows: NDArray[np.int64], mask: NDArray[np.int64], sizes: Sequence[int]
) -> list[Array]:
    """Return the logits of calls of these sizes."""
    inputs = {item.name: item for item in session.get_inputs()}
    names = [item.name for item in session.get_outputs()]
    past = {
        name: np.zeros(
            [len(rows), *(size if isinstance(size, int) else 0 for size in item.shape[1:])], _TYPES[item.type]
        )
        for name, item in inputs.items()
        if name.startswith("past_")
    }
    results, end = [], 0
    for size in sizes:
        begin, end = end, end + size
        positions = np.maximum(mask.cumsum(1) - 1, 0)[:, begin:end]
        feeds = {"input_ids": rows[:, begin:end], ATTENTION_MASK: mask[:, :end], "position_ids": positions}
        outputs = dict(zip(names, session.run(None, {**_fed(inputs, feeds), **past}), strict=True))
        past = {name: outputs[present_name(name)] for name in past}
        results.append(outputs["logits"])
    return results


def present_name(past: str) -> str:
    """Return the output that is the next call's input of that name."""
    return past.replace("past_key_values", "present").replace("past_", "present_")


def _encoder_decoder(built: Built, encoder: InferenceSession, decoder: InferenceSession) -> float:
    """Compare calls of the decoder, of which the first computes the keys and values of sources of two lengths."""
    length = built.case.length
    ids, sources = built.ids(2, length), built.sources(2, length)
    assert sources is not None
    sources[1] = sources[1][: length - PAD]
    expected = np.concatenate(
        [built.reference.outputs([row], source=[own])["logits"] for row, own in zip(ids, sources, strict=True)]
    )
    rows = np.array([own + [0] * (length - len(own)) for own in sources])
    mask = (np.arange(length) < np.array([[len(own)] for own in sources])).astype(np.int64)
    (hidden,) = encoder.run(["last_hidden_state"], {"input_ids": rows, ATTENTION_MASK: mask})
    feeds = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
    past = {
        item.name: np.zeros([2, item.shape[1], 0, item.shape[3]], np.float32)
        for item in decoder.get_inputs()
        if item.name.startswith("past_key_values.")
    }
    names, found, end = [item.name for item in decoder.get_outputs()], list[Array](), 0
    for size in (length - 2, 1, 1):
        begin, end = end, end + size
        call = {"input_ids": np.array(ids)[:, begin:end], "use_cache_branch": np.array([begin > 0]), **feeds, **past}
        outputs = dict(zip(names, decoder.run(None, call), strict=True))
        past = {name: outputs[name.replace("past_key_values", "present")] for name in past}
        feeds["encoder_hidden_states"] = np.zeros_like(hidden)  # read by the first call alone
        found.append(outputs["logits"])
    return float(np.abs(np.concatenate(found, axis=1) - expected).max())


def _encoder(built: Built, session: InferenceSession) -> float:
    """Compare a whole row, and one with padding on the right."""
    length = built.case.length
    ids, types = built.ids(2, length), built.token_types(2, length)
    lengths = [length, length - PAD]
    mask = (np.arange(length) < np.array(lengths)[:, None]).astype(np.int64)
    feeds = {"input_ids": np.array(ids) * mask, ATTENTION_MASK: mask}
    if types is not None:
        feeds["token_type_ids"] = np.array(types)
    inputs = {item.name: item for item in session.get_inputs()}
    names = [item.name for item in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, _fed(inputs, feeds)), strict=True))
    worst = 0.0
    for row, count in enumerate(lengths):
        own = [types[row][:count]] if types is not None else None
        for role, expected in built.reference.outputs([ids[row][:count]], own).items():
            if role in built.roles():
                found = outputs[_NAMES[role]][row]
                found = found[:count] if expected[0].ndim == found.ndim == 2 else found
                worst = max(worst, float(np.abs(found - expected[0]).max()))
    return worst


def _fed(inputs: dict[str, object], feeds: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Return the values of the inputs that a graph has."""
    return {name: value for name, value in feeds.items() if name in inputs}
