"""A case with its checkpoint on disk and its builds; each is made on first use."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch

from archc.archspec import BoundSpec, read_config
from archc.compiler.build import bind, build, load_torch, open_slots
from archc.compiler.contract.inputs_outputs import graph_outputs
from archc.compiler.modules.model import Model, meta_model
from archc.compiler.output.tensorrt.sections import EngineOptions
from archc.compiler.tracing.stitch import assemble
from archc.proof.case import Case, Reference
from archc.runtime.engine import Engine, load


class Built:
    """One case, in a folder of its own."""

    def __init__(self, family: str, case: Case, folder: Path) -> None:
        self.family, self.case, self.folder = family, case, folder

    @cached_property
    def reference(self) -> Reference:
        """The independent implementation."""
        return self.case.make()

    @cached_property
    def checkpoint(self) -> Path:
        """The folder of the reference's weights and config."""
        self.reference.save(self.folder / "checkpoint")
        return self.folder / "checkpoint"

    @property
    def spec(self) -> str | Path:
        """The SPEC argument of a build: the checkpoint's folder, or a spec's name if the config has no family."""
        return self.case.spec or self.checkpoint

    @cached_property
    def bound(self) -> BoundSpec:
        """The spec with the checkpoint's sizes."""
        return bind(self.spec, read_config(self.checkpoint), None, ())

    @cached_property
    def module(self) -> Model:
        """The torch model with the checkpoint's weights."""
        model = meta_model(self.bound)
        return load_torch(model, open_slots(self.bound, model, self.checkpoint, None))

    @cached_property
    def engine(self) -> Engine:
        """The float32 plan for ort-cpu, loaded."""
        return load(self.build_from(self.graphs, "engine.plan", "ort-cpu", "float32"), threads=1)

    @cached_property
    def portable(self) -> Path:
        """The folder of the portable graph."""
        return self.build_from(self.graphs, "portable", "onnx", "float32")

    def build_float16(self, name: str, target: str) -> Path:
        """Build the case for a target in float16."""
        return self.build_from(self.float16_graphs, name, target, "float16")

    def build_from(
        self, graphs: dict[str, ir.Model], name: str, target: str, dtype: str, quantize: str | None = None
    ) -> Path:
        """Build from traced graphs: targets share one trace, which is most of a build's time."""
        engine = EngineOptions(compute_capabilities=("8.9", "12.0")) if quantize == "fp8" else EngineOptions()
        out = self.folder / name
        return build(
            self.spec,
            self.checkpoint,
            out=out,
            target=target,
            dtype=dtype,
            quantize=quantize,
            engine=engine,
            trace=lambda _: copied(graphs),
        )

    @cached_property
    def float16_graphs(self) -> dict[str, ir.Model]:
        """The traced graphs in float16, before any pass."""
        return assemble(meta_model(self.bound, torch.float16))

    @cached_property
    def graphs(self) -> dict[str, ir.Model]:
        """The traced graphs in float32, before any pass."""
        return assemble(meta_model(self.bound))

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The portable graph in plain ONNX Runtime."""
        return open_session(self.portable / "model.onnx")

    @cached_property
    def encoder_session(self) -> onnxruntime.InferenceSession | None:
        """The portable graph of an encoder-decoder's encoder."""
        return open_session(self.portable / "encoder.onnx") if self.is_encoder_decoder else None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the portable graph."""
        text = (self.portable / "archc.json").read_text("utf-8")
        manifest: dict[str, Any] = json.loads(text)
        return manifest

    @property
    def is_decoder(self) -> bool:
        """Return whether the model decodes with a cache: a decoder or an encoder-decoder."""
        return self.case.topology != "encoder"

    @property
    def is_encoder_decoder(self) -> bool:
        """Return whether the model has an encoder whose output the decoder attends to."""
        return self.case.topology == "encoder-decoder"

    def sources(self, batch: int, length: int, seed: int = 0) -> list[list[int]] | None:
        """Return random inputs of the encoder, or None for a model without one."""
        if self.bound.encoder is None:
            return None
        vocab = self.bound.encoder.embedding.vocab
        rows: list[list[int]] = np.random.default_rng(seed + 7).integers(0, vocab, (batch, length)).tolist()
        return rows

    @property
    def vocab(self) -> int:
        """The vocabulary's size."""
        return self.bound.embedding.vocab

    def ids(self, batch: int, length: int, seed: int = 0, with_lead: bool = True) -> list[list[int]]:
        """Return random prompts that depend on the arguments alone; they begin with the case's lead tokens."""
        rows: list[list[int]] = np.random.default_rng(seed).integers(0, self.vocab, (batch, length)).tolist()
        lead = list(self.case.lead)
        return [(lead + [token for token in row if token not in lead])[:length] for row in rows] if with_lead else rows

    def token_types(self, batch: int, length: int) -> list[list[int]] | None:
        """Return random token types, or None for a family without them."""
        if not self.bound.embedding.token_types:
            return None
        random = np.random.default_rng(1)
        rows: list[list[int]] = random.integers(0, self.bound.embedding.token_types, (batch, length)).tolist()
        return rows

    def close(self) -> None:
        """Close the plan if it has been loaded."""
        if "engine" in self.__dict__:
            self.engine.close()

    def roles(self) -> list[str]:
        """Return the roles of the plan's outputs, each of which the checks compare."""
        encoder = graph_outputs(self.bound.encoder, "float32") if self.bound.encoder is not None else []
        return [output.role for output in (*graph_outputs(self.bound, "float32"), *encoder)]


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph in plain ONNX Runtime on the CPU, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def use_one_thread() -> None:
    """Run torch on one thread: for tiny models, starting threads costs more than it saves."""
    torch.set_num_threads(1)


def copied(graphs: dict[str, ir.Model]) -> dict[str, ir.Model]:
    """Return copies of traced graphs, for a build to change."""
    return {name: graph.clone() for name, graph in graphs.items()}
