"""Graphs whose caches grow by concatenation, in the layout of Optimum, for the slots of the decode loop.

The decode loop keeps each row's entries in slots, [batch, heads, capacity, width], and may rewind or reorder them. A
call passes the live slots of rows as the graph's past, and writes the appended entries into the slots. Rows of equal
lengths run together, because not every graph has a mask of the past: a call has no padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.axes import slots_of
from archc.plan.dtypes import DTYPES
from archc.plan.manifest import Manifest
from archc.plan.reader import ENCODER, MODEL, Plan
from archc.plan.records import Encoder, InputRole
from archc.runtime.backends.base import Binding, Buffer
from archc.runtime.backends.ort.buffer import OrtBuffer, OrtBuffers
from archc.runtime.backends.ort.options import is_packed, loading, session_options
from archc.runtime.backends.ort.package import first_line, import_onnxruntime
from archc.runtime.backends.prepack import Prepack
from archc.runtime.backends.threads import choose_threads
from archc.runtime.errors import EngineError, PlanError

Arrays = Mapping[str, NDArray[Any]]
Rows = NDArray[np.int64]
ATTENTION_MASK, SOURCE_MASK = "attention_mask", "encoder_attention_mask"
HIDDEN, HAS_PAST = "encoder_hidden_states", "use_cache_branch"


def open_growing(plan: Plan, threads: int | None, prepack: Prepack, graph: str) -> GrowingBackend:
    """Return the backend of a graph of the folder; that of an encoder has the decoder's cross projections too."""
    manifest, count = plan.manifest, choose_threads(threads)
    packed = is_packed(plan, prepack, "cpu")
    if graph == ENCODER:
        assert manifest.encoder is not None
        decoder = Graph(plan, MODEL, count, packed)
        return GrowingBackend(Source(Graph(plan, ENCODER, count, packed), decoder, manifest.encoder), count)
    return GrowingBackend(Text(Graph(plan, graph, count, packed), manifest), count)


class Graph:
    """A session on the CPU, with the names, types and sizes of its inputs."""

    def __init__(self, plan: Plan, name: str, threads: int, packed: bool) -> None:
        ort = import_onnxruntime("cpu")
        with loading(plan, name, "folder"):
            options = session_options(ort, plan, threads, packed)
            self._session = ort.InferenceSession(plan.model(name), options, providers=["CPUExecutionProvider"])
        self.inputs = {item.name: item for item in self._session.get_inputs()}
        self.outputs = [item.name for item in self._session.get_outputs()]
        self._types = {DTYPES[name].ort: DTYPES[name].storage for name in DTYPES}
        self.where = f"{plan.path}: {name}"

    def require(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Raise PlanError if the graph lacks an input or an output of the manifest."""
        for kind, names, actual in (("input", inputs, self.inputs), ("output", outputs, self.outputs)):
            if missing := sorted(set(names) - set(actual)):
                raise PlanError(f"{self.where}: {kind} {missing[0]!r} not found; build the folder again")

    def zeros(self, name: str, *sizes: int) -> NDArray[Any]:
        """Return an input of zeros; its named axes have these sizes, in order, and no size the rest."""
        item, remaining = self.inputs[name], iter(sizes)
        shape = [size if isinstance(size, int) else next(remaining, 0) for size in item.shape]
        return np.zeros(shape, self._types[item.type])

    def run(self, feeds: Arrays, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return outputs by name; values of inputs that the graph does not have are left out."""
        values = {name: np.ascontiguousarray(value) for name, value in feeds.items() if name in self.inputs}
        try:
            return dict(zip(outputs, self._session.run(list(outputs), values), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise EngineError(f"the graph failed to run: {first_line(error)}; build the folder again") from None


class Text:
    """Calls of a decoder, or of an encoder without state."""

    def __init__(self, graph: Graph, manifest: Manifest) -> None:
        self.graph, self.manifest = graph, manifest
        self.states = {state.input: state for state in manifest.state}
        self.names = role_names(manifest)
        own = [state.output for state in manifest.state if state.output is not None]
        graph.require([self.names["token_ids"], *self.states], [*(item.name for item in manifest.outputs), *own])

    def run(self, feeds: Arrays, outputs: Arrays, state: Sequence[Binding]) -> None:
        """Run the rows of each length; rows without new tokens keep their state."""
        new = feeds[self.names["lengths"]]
        indices = self.names.get("write_indices")
        past = feeds[indices] if indices is not None else np.zeros_like(new)
        for binding in state:
            if binding.target is not None:
                array(binding.target)[new == 0] = array(binding.buffer)[new == 0]
        for begin, count in np.unique(np.stack([past, new], axis=1)[new > 0], axis=0).tolist():
            rows = np.flatnonzero((past == begin) & (new == count))
            self._run(rows, slice(begin, begin + count), feeds, outputs, state)

    def _run(self, rows: Rows, span: slice, feeds: Arrays, outputs: Arrays, state: Sequence[Binding]) -> None:
        """Run rows whose new tokens have the places `span`."""
        names, count = self.names, span.stop - span.start
        mask = np.ones((len(rows), span.stop), np.int64)
        call: dict[str, Any] = {ATTENTION_MASK: mask, **self._source(feeds, rows)}
        for role in ("token_ids", "positions", "token_types"):
            if role in names:
                call[names[role]] = feeds[names[role]][rows, :count]
        for binding in state:
            assert binding.input is not None
            call[binding.input] = array(binding.buffer)[(rows, *self._slots(binding.input, slice(span.start)))]
        presents = [binding.output for binding in state if binding.output is not None]
        results = self.graph.run(call, [*outputs, *presents])
        for name, values in outputs.items():
            values[rows] = self._asked(name, results[name], feeds, rows, values)
        for binding in state:
            if binding.output is not None:
                assert binding.input is not None
                slots = self._slots(binding.input, span)
                array(binding.target or binding.buffer)[(rows, *slots)] = results[binding.output][(slice(None), *slots)]

    def _slots(self, name: str, span: slice) -> tuple[Any, ...]:
        """Return the index of slots in the axes after the first of a cache; that of all of any other state.

        `span` are slots of tokens; a cache with one slot for each block has those of the whole blocks that end there.
        """
        state, block = self.states[name], self.states[name].block or 1
        slots = slice(None if span.start is None else span.start // block, span.stop // block)
        return tuple(slots if slots_of(axis, 1) is not None else slice(None) for axis in state.shape[1:])

    def _source(self, feeds: Arrays, rows: Rows) -> dict[str, Any]:
        """Return the inputs of cross-attention, whose keys and values are among the states."""
        mask = next((i.name for i in self.manifest.inputs if i.mask is not None and i.mask.kind == "source"), None)
        if mask is None:
            return {}
        seen = feeds[mask][rows, 0, 0].astype(np.int64)
        hidden = self.graph.zeros(HIDDEN, *seen.shape)  # of no effect next to the states
        return {SOURCE_MASK: seen, HIDDEN: hidden, HAS_PAST: np.array([True])}

    def _asked(self, name: str, result: NDArray[Any], feeds: Arrays, rows: Rows, values: NDArray[Any]) -> NDArray[Any]:
        """Return an output in the shape of the caller's: logits at its positions, tokens up to its padding."""
        role = next(item.role for item in self.manifest.outputs if item.name == name)
        if role == "logits":
            positions = np.minimum(feeds[self.names["logit_positions"]][rows], result.shape[1] - 1)
            return np.take_along_axis(result, positions[..., None], axis=1)
        if result.ndim < 3:
            return result
        padded: NDArray[Any] = np.pad(result, ((0, 0), (0, values.shape[1] - result.shape[1]), (0, 0)))
        return padded


class Source:
    """Calls of an encoder; the decoder's graph computes the keys and values of its cross-attention."""

    def __init__(self, graph: Graph, decoder: Graph, encoder: Encoder) -> None:
        self.graph, self.decoder = graph, decoder
        self.names = role_names(encoder)
        self.hidden = next(item.name for item in encoder.outputs if item.role == "hidden_states")
        self.presents = {
            item.name: item.name.replace("past_key_values", "present")
            for item in encoder.outputs
            if item.role == "cross"
        }
        graph.require([self.names["token_ids"]], [self.hidden])
        decoder.require([HIDDEN, SOURCE_MASK, HAS_PAST, *self.presents], list(self.presents.values()))

    def run(self, feeds: Arrays, outputs: Arrays, state: Sequence[Binding]) -> None:
        """Encode the rows with padding on the right, and fill the cross states."""
        ids, lengths = feeds[self.names["token_ids"]], feeds[self.names["lengths"]]
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        hidden = self.graph.run({**feeds, ATTENTION_MASK: mask}, [self.hidden])[self.hidden]
        outputs[self.hidden][...] = hidden
        batch, decoder = len(ids), self.decoder
        call = {name: decoder.zeros(name, batch) for name in decoder.inputs if name.startswith("past_key_values")}
        call["input_ids"] = np.zeros((batch, 1), np.int64)
        call |= {HIDDEN: hidden, SOURCE_MASK: mask, HAS_PAST: np.array([False])}
        names = {binding.output: self.presents[str(binding.output)] for binding in state}
        results = decoder.run(call, list(names.values()))
        for binding in state:
            array(binding.buffer)[...] = results[names[binding.output]]


class GrowingCall:
    """A graph with bound state."""

    def __init__(self, calls: Text | Source, state: Sequence[Binding]) -> None:
        self._calls, self._state = calls, state

    def run(self, feeds: Arrays, outputs: Arrays) -> None:
        """Run the graph on `feeds`, by input name, and fill the arrays of `outputs`, by output name."""
        self._calls.run(feeds, outputs, self._state)


class GrowingBackend(OrtBuffers):
    """One graph of a folder, on the CPU."""

    device, growth = "cpu", 2.0  # slots without entries cost nothing

    def __init__(self, calls: Text | Source, threads: int) -> None:
        self._calls, self.threads = calls, threads

    def mask_length(self, total: int, seq: int) -> int:
        """Return `total`."""
        return total

    def bind(self, state: Sequence[Binding]) -> GrowingCall:
        """Return a call that keeps its state in these buffers."""
        return GrowingCall(self._calls, state)


def role_names(section: Manifest | Encoder) -> dict[InputRole, str]:
    """Return the names of inputs by role."""
    return {item.role: item.name for item in section.inputs if item.role != "mask"}


def array(buffer: Buffer) -> NDArray[Any]:
    """Return the contents of a buffer, which are in the host's memory."""
    assert isinstance(buffer, OrtBuffer)
    return buffer.read()
