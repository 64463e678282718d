"""The layout of Optimum's exports in plain ONNX Runtime: calls with growing caches, and rows with padding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, OrtValue

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
    """Return the largest difference from the reference."""
    folder = built.build_from(built.graphs, "optimum", "onnx-hf", "float32")
    opened = _engine(built, folder)
    if built.is_encoder_decoder:
        sessions = (open_session(folder / f"{name}.onnx") for name in GRAPHS)
        return max(opened, _encoder_decoder(built, *sessions))
    session = open_session(folder / "model.onnx")
    if not built.is_decoder:
        return max(opened, _encoder(built, session))
    shared = _shared_states(folder)
    return max(opened, *(_decoder(built, session, left, shared) for left in (False, True)))


def _shared_states(folder: Path) -> Sequence[str]:
    """Return the states of fixed size that onnxruntime-genai writes over the memory that they are read from."""
    path = folder / "genai_config.json"
    if not path.exists():
        return ()
    model = json.loads(path.read_bytes())["model"]
    names = [model["decoder"]["inputs"].get(f"past_{kind}_names") for kind in ("conv", "recurrent")]
    layers = range(model["decoder"]["num_hidden_layers"])
    return [name % layer for name in names if name and model["type"] == "decoder" for layer in layers]


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


def _decoder(built: Built, session: InferenceSession, left: bool, shared: Sequence[str]) -> float:
    """Compare a prompt in one call and two more tokens, with padding on one side of the second row's prompt."""
    length = built.case.length
    pad = 0 if built.case.depends_on_calls else PAD
    ids = built.ids(2, length)
    sizes = [length - 2, 1, 1]
    expected = [_logits(built, ids[0], sizes), _logits(built, ids[1][: length - pad], sizes)]
    begin = 0 if left else length - 2 - pad
    short = ids[1][: length - pad]
    rows = np.array([ids[0], short[:begin] + [0] * pad + short[begin:]])
    places = np.arange(length)
    seen = (places < begin) | (places >= begin + pad)
    mask = np.stack([np.ones_like(places), seen])
    logits = np.concatenate(run_calls(session, rows, mask, sizes, shared), axis=1)
    found = [logits[0], logits[1, seen]]
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


def _logits(built: Built, ids: Sequence[int], sizes: Sequence[int]) -> Array:
    if built.case.depends_on_calls:
        return built.reference.in_steps(ids, sizes)
    logits: Array = built.reference.outputs([list(ids)])["logits"][0]
    return logits


def run_calls(
    session: InferenceSession,
    rows: NDArray[np.int64],
    mask: NDArray[np.int64],
    sizes: Sequence[int],
    shared: Sequence[str] = (),
) -> list[Array]:
    """Return the logits of calls of these sizes; `shared` states are written over the memory they are read from."""
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
        arrays = {name: np.array(value, order="C") for name, value in {**_fed(inputs, feeds), **past}.items()}
        values = {name: OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        binding = session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        outputs_of = {present_name(name): values[name] for name in shared if name in past}
        for name in names:
            if name in outputs_of:
                binding.bind_ortvalue_output(name, outputs_of[name])
            else:
                binding.bind_output(name)
        session.run_with_iobinding(binding)
        outputs = dict(zip(names, (np.array(value.numpy()) for value in binding.get_outputs()), strict=True))
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
