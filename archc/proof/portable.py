"""Run a portable ONNX folder in plain ONNX Runtime, as another tool would, with inputs computed from the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from archc.plan.axes import slots_of
from archc.proof.case import Ids

Arrays = dict[str, NDArray[Any]]


class Prompts(NamedTuple):
    """The prompt's length of a prefix LM, and the two position ids of every token [batch, 2, seq]."""

    length: int
    positions: NDArray[np.int64]


def block_places(ids: Ids, end: int, blanks: Sequence[int]) -> NDArray[np.int64]:
    """Return each token's position in the text and in the generated block [batch, 2, seq]."""
    rows = []
    for row in map(list, ids):
        begin = row.index(end)
        blank = next(row.index(token) for token in blanks if token in row[:begin])
        text = [place if place < begin else blank for place in range(len(row))]
        rows.append([text, [max(0, place - begin + 1) for place in range(len(row))]])
    return np.array(rows)


def run_encoder(session: onnxruntime.InferenceSession, manifest: dict[str, Any], source: Ids) -> Arrays:
    """Return the outputs of an encoder-decoder's encoder for rows of one length, by name."""
    return _call(session, manifest["encoder"], np.array(source), 0, {}, None)


def run_portable(
    session: onnxruntime.InferenceSession,
    manifest: dict[str, Any],
    ids: Ids,
    token_type_ids: Ids | None,
    first: int,
    encoded: Arrays | None = None,
) -> Arrays:
    """Return every output of rows of one length. A decoder reads `first` tokens in one call, then one token a call.

    `encoded` has the encoder's outputs; those that are state are inputs of every call and never change.
    """
    if not manifest["state"]:
        return _call(session, manifest, np.array(ids), 0, {}, token_type_ids)
    tokens = np.array(ids)
    capacity = tokens.shape[1] + 3
    state = {
        # Unused positions of a cache may hold any number; a recurrent state of fixed size begins as zeros.
        item["input"]: np.full(
            [len(ids) if d == "batch" else slots_of(d, capacity) or d for d in item["shape"]],
            7 if item["kind"] in ("kv", "block") else 0,
            item["dtype"],
        )
        for item in manifest["state"]
        if item["kind"] != "cross"
    }
    hidden = {}
    if encoded is not None:
        hidden = {"hidden_states": encoded.pop("hidden_states")}
        state |= encoded
    prompts = None
    if manifest["prefix"] is not None:
        end, blanks = manifest["prefix"]["end"], manifest["prefix"]["blanks"]
        prompts = Prompts(list(ids[0]).index(end), block_places(ids, end, blanks))
    ends = [0, first, *range(first + 1, tokens.shape[1] + 1)]
    logits = []
    for start, end in pairwise(ends):
        results = _call(session, manifest, tokens[:, start:end], start, state, None, prompts)
        state |= {item["input"]: results[item["output"]] for item in manifest["state"] if item["output"] is not None}
        logits.append(results["logits"])
    return hidden | {"logits": np.concatenate(logits, axis=1)}


def _call(
    session: onnxruntime.InferenceSession,
    manifest: dict[str, Any],
    tokens: NDArray[np.int64],
    past: int,
    state: Arrays,
    token_type_ids: Ids | None,
    prompts: Prompts | None = None,
) -> Arrays:
    batch, seq = tokens.shape
    positions = np.broadcast_to(np.arange(past, past + seq), (batch, seq))
    feeds: Arrays = dict(state)
    for item in manifest["inputs"]:
        match item["role"]:
            case "token_ids":
                feeds[item["name"]] = tokens
            case "positions":
                feeds[item["name"]] = positions
            case "block_positions":
                assert prompts is not None
                feeds[item["name"]] = prompts.positions[:, :, past : past + seq]
            case "token_types":
                feeds[item["name"]] = np.array(token_type_ids)
            case "write_indices":
                feeds[item["name"]] = np.full(batch, past)
            case "lengths":
                feeds[item["name"]] = np.full(batch, seq)
            case "logit_positions":
                feeds[item["name"]] = np.broadcast_to(np.arange(seq), (batch, seq))
            case "mask":
                if item["mask"]["kind"] == "source":
                    # Rows of one length have no padding.
                    length = next(array.shape[2] for name, array in state.items() if name.startswith("cross_key"))
                    feeds[item["name"]] = np.ones((batch, 1, seq, length), np.bool_)
                    continue
                feeds[item["name"]] = _mask(item["mask"], batch, past, seq, prompts.length if prompts else 0)
    names = [output.name for output in session.get_outputs()]
    return dict(
        zip(names, session.run(names, {name: np.ascontiguousarray(feed) for name, feed in feeds.items()}), strict=True)
    )


def _mask(mask: dict[str, Any], batch: int, past: int, seq: int, prompt: int) -> NDArray[np.bool_]:
    total = past + seq
    visible = np.ones((batch, 1, seq, total), np.bool_)
    for query in range(seq):
        for key in range(total):
            distance = past + query - key
            if mask["kind"] != "bidirectional":
                start = (past + query) % mask["window"] + 1 if mask["chunked"] else mask["window"]
                too_far = mask["window"] is not None and distance >= start
                visible[:, :, query, key] = (distance >= 0 and not too_far) or key < prompt
            else:
                assert not mask["chunked"]
                visible[:, :, query, key] = mask["window"] is None or abs(distance) <= mask["window"]
    return visible
