"""A case with its checkpoint on disk and everything that archc makes of it, each made once."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
from archc.runtime.engine import Engine, load
from tests.families.case import Case, Reference


class Built:
    """One case, in a folder of its own."""

    def __init__(self, family: str, case: Case, folder: Path) -> None:
        self.family, self.case, self.folder = family, case, folder

    @cached_property
    def reference(self) -> Reference:
        """The independent model."""
        return self.case.make()

    @cached_property
    def checkpoint(self) -> Path:
        """The reference's weights and config on disk."""
        self.reference.save(self.folder / "checkpoint")
        return self.folder / "checkpoint"

    @property
    def spec(self) -> str | Path:
        """What a user would name: the checkpoint's folder, or the spec where its config names no family."""
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
        """The plan for the CPU, loaded."""
        return load(self._build("engine.plan", "ort-cpu"), threads=1)

    @cached_property
    def portable(self) -> Path:
        """The folder with the portable graph."""
        return self._build("portable", "onnx")

    def _build(self, name: str, target: str) -> Path:
        return self.build_from(self.graphs, name, target, "float32")

    def half(self, name: str, target: str) -> Path:
        """The case built for a target in float16."""
        return self.build_from(self.half_graphs, name, target, "float16")

    def build_from(
        self, graphs: dict[str, ir.Model], name: str, target: str, dtype: str, quantize: str | None = None
    ) -> Path:
        """A build that starts from these graphs: targets share one trace, which is most of a build's time."""
        with patch("archc.compiler.lower.assemble", lambda _: {name: graph.clone() for name, graph in graphs.items()}):
            return build(
                self.spec, self.checkpoint, out=self.folder / name, target=target, dtype=dtype, quantize=quantize,
                engine=EngineOptions(compute_capabilities=("8.9", "12.0")) if quantize == "fp8" else EngineOptions(),
            )  # fmt: skip

    @cached_property
    def half_graphs(self) -> dict[str, ir.Model]:
        """The graphs in float16 before any pass."""
        return assemble(meta_model(self.bound, torch.float16))

    @cached_property
    def graphs(self) -> dict[str, ir.Model]:
        """The graphs before any pass."""
        return assemble(meta_model(self.bound))

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The portable graph in plain ONNX Runtime."""
        return self._session("model.onnx")

    @cached_property
    def encoder_session(self) -> onnxruntime.InferenceSession | None:
        """The portable graph of an encoder-decoder's encoder."""
        return self._session("encoder.onnx") if self.answers else None

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.portable / name, options, providers=["CPUExecutionProvider"])

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the portable folder says about its graph."""
        text = (self.portable / "manifest.json").read_text("utf-8")
        manifest: dict[str, Any] = json.loads(text)
        return manifest

    @property
    def is_decoder(self) -> bool:
        """Whether the topology has a cache."""
        return self.case.topology != "encoder"

    @property
    def answers(self) -> bool:
        """Whether the model answers a source."""
        return self.case.topology == "encoder-decoder"

    def sources(self, batch: int, length: int, seed: int = 0) -> list[list[int]] | None:
        """Random sources, where the model answers them."""
        if self.bound.encoder is None:
            return None
        vocab = self.bound.encoder.embedding.vocab
        rows: list[list[int]] = np.random.default_rng(seed + 7).integers(0, vocab, (batch, length)).tolist()
        return rows

    @property
    def vocab(self) -> int:
        """How many tokens there are."""
        return self.bound.embedding.vocab

    def ids(self, batch: int, length: int, seed: int = 0, begin: bool = True) -> list[list[int]]:
        """Random prompts, the same at every run; with `begin` they begin as the case wants."""
        rows: list[list[int]] = np.random.default_rng(seed).integers(0, self.vocab, (batch, length)).tolist()
        lead = list(self.case.lead)
        return [(lead + [token for token in row if token not in lead])[:length] for row in rows] if begin else rows

    def token_types(self, batch: int, length: int) -> list[list[int]] | None:
        """Random token types, where the family has them."""
        if not self.bound.embedding.token_types:
            return None
        random = np.random.default_rng(1)
        rows: list[list[int]] = random.integers(0, self.bound.embedding.token_types, (batch, length)).tolist()
        return rows

    def close(self) -> None:
        """Lets go of the plan's file."""
        if "engine" in self.__dict__:
            self.engine.close()

    def roles(self) -> list[str]:
        """The outputs that the plan has: each of them is compared."""
        encoder = graph_outputs(self.bound.encoder, torch.float32) if self.bound.encoder is not None else []
        return [output.role for output in (*graph_outputs(self.bound, torch.float32), *encoder)]


def for_tiny_models() -> None:
    """One thread, which tiny models lose less by than they win."""
    torch.set_num_threads(1)
