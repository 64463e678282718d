"""Packed checkpoints of tiny models, next to the same models with the widened weights in transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from archc.compiler.build import build
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.checkpoint.weights import Weights
from archc.compiler.weights.packings.detect import unpack
from archc.proof.from_transformers import FromTransformers
from archc.runtime.engine import load
from archc.verify.compare import verify

Tensors = dict[str, Tensor]
Pack = Callable[[str, Tensor], tuple[Tensors, Tensor] | None]
"""From a tensor's name and value: the stored tensors and the widened weight; None for a tensor that stays."""

IDS = [[3, 1, 4, 15, 9, 26, 5, 35, 8]]


def on_packing(warnings: list[str]) -> list[str]:
    """Return the warnings about packed weights; a tiny checkpoint has no tokenizer, which is another warning."""
    return [warning for warning in warnings if "are stored quantized" in warning]


class PackedCheckpoint:
    """A checkpoint written by `pack`, and a plain one of the widened weights."""

    def __init__(self, folder: Path, reference: FromTransformers, pack: Pack, config: Mapping[str, Any]) -> None:
        self.folder, self.plain = folder / "packed", folder / "plain"
        reference.save(self.folder)
        reference.save(self.plain)
        self.class_name = type(reference.model).__name__
        stored: Tensors = {}
        self.widened = load_file(self.plain / "model.safetensors")
        self.packed: Tensors = {}
        for name, value in list(self.widened.items()):
            result = pack(name, value)
            if result is None:
                stored[name] = value
                continue
            parts, self.packed[name] = result
            stored |= {part: tensor.contiguous() for part, tensor in parts.items()}
        assert self.packed, "nothing is packed"
        self.widened |= {name: value.contiguous() for name, value in self.packed.items()}
        save_file(stored, self.folder / "model.safetensors", {"format": "pt"})
        save_file(self.widened, self.plain / "model.safetensors", {"format": "pt"})
        file = self.folder / "config.json"
        file.write_text(
            json.dumps(json.loads(file.read_text("utf-8")) | {"quantization_config": dict(config)}), "utf-8"
        )

    @property
    def weights(self) -> Weights:
        """The checkpoint as a build reads it."""
        return unpack(open_weights(self.folder), self.folder)

    def reference_logits(self) -> NDArray[np.float32]:
        """The logits of transformers' class on the widened weights."""
        model = getattr(transformers, self.class_name).from_pretrained(
            self.plain, dtype=torch.float32, attn_implementation="eager"
        )
        with torch.no_grad():
            logits: NDArray[np.float32] = model.eval()(torch.tensor(IDS), use_cache=False).logits.numpy()
        return logits

    def check_values(self) -> None:
        """Every packed weight is widened exactly, as a whole and in ranges of rows; no part of it has a name."""
        weights = self.weights
        assert set(weights.names()) == set(self.widened)
        for name, expected in self.packed.items():
            assert (weights.shape(name), weights.dtype(name)) == (tuple(expected.shape), "F32")
            assert torch.equal(weights.read(name), expected.float()), name
            count = len(expected)
            for start, stop in ((0, 1), (count // 3, count // 3 + 3), (count - 1, count)):
                rows = weights.read(name, (slice(start, min(stop, count)),))
                assert torch.equal(rows, expected[start : min(stop, count)].float()), (name, start)
            assert torch.equal(weights.read(name, (1,)), expected[1].float()), name

    def check_build(self, tolerance: float = 2e-4) -> None:
        """A plan's logits are those of transformers on the widened weights."""
        plan = build(self.folder, out=self.folder.parent / "engine.plan", target="ort-cpu", dtype="float32")
        expected = self.reference_logits()
        with closing(load(plan, threads=1)) as engine:
            logits = np.asarray(engine.logits(IDS))
        assert np.abs(logits - expected).max() <= tolerance * np.abs(expected).max()

    def check_verify(self, packing: str) -> None:
        """`archc verify` passes, and names the packing."""
        plan = self.folder.parent / "verified.plan"
        warnings: list[str] = []
        build(self.folder, out=plan, target="ort-cpu", dtype="float32", warn=warnings.append)
        assert [packing in warning for warning in on_packing(warnings)] == [True]
        with closing(load(plan, threads=1)) as engine:
            report = verify(engine, self.folder, new_tokens=2)
        assert report.ok, report
        assert self.class_name in report.reference
        assert any(packing in note for note in report.notes)
