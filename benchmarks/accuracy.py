"""Accuracy of quantized plans: python benchmarks/accuracy.py CHECKPOINT [--texts FILE].

Builds the checkpoint in float32 and in each quantization, and compares them on texts, one a line: the divergence of the
next token's distribution, how often the likeliest token is the same, and for encoders the cosine of mean embeddings.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import archc

TEXTS = (
    "Once upon a time, there was a kind dog named Milo who lived at the edge of a green forest.",
    "One day, Milo and Luna the duck found an old map under the bench.",
    "The map showed a long path through the village. They walked and walked.",
    "Sara saw a small blue boat on the lake and asked her father if they could sail it.",
    "A short one.",
    "17+25=",
    "Attention lets every token look at every other token of its sentence.",
    "The compiler reads a specification and writes an engine that runs on two cores.",
)
BUILDS: Mapping[str, dict[str, str]] = {
    "float32": {},
    "float32, int8 cache": {"kv": "int8"},
    "int8": {"quantize": "int8"},
    "int4": {"quantize": "int4"},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("checkpoint", type=Path)
    options.add_argument("--texts", type=Path, help="a file with a text a line")
    options.add_argument("--only", nargs="*", choices=BUILDS, default=list(BUILDS))
    given = options.parse_args()
    texts = given.texts.read_text("utf-8").splitlines() if given.texts else TEXTS
    exact = None
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys(("float32", *given.only)):
            plan = archc.build(given.checkpoint, out=Path(folder) / "engine.plan", **BUILDS[name])
            engine = archc.load(plan)
            rows = [engine.tokenizer.encode(text) for text in texts if text]
            found = embeddings(engine, rows) if engine.manifest.topology == "encoder" else logs(engine, rows)
            exact = found if exact is None else exact
            compare = cosines if engine.manifest.topology == "encoder" else divergences
            weights = sum(tensor.bytes for tensor in engine.manifest.tensors)
            print(f"{name:20} {weights:14,} bytes   {compare(exact, found)}", flush=True)
            engine.close()


def logs(engine: archc.Engine, rows: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """Log probabilities [tokens, vocab] of each row; one token a call, as they are when text is written."""
    found = []
    for row in rows:
        sequences = engine.sequences(1)
        steps = np.concatenate([sequences.append([[token]]) for token in row]).astype(np.float64)
        steps -= steps.max(-1, keepdims=True)
        found.append(steps - np.log(np.exp(steps).sum(-1, keepdims=True)))
    return found


def divergences(exact: list[NDArray[np.float64]], found: list[NDArray[np.float64]]) -> str:
    wanted, got = np.concatenate(exact), np.concatenate(found)
    kl = (np.exp(wanted) * (wanted - got)).sum(-1)
    same = (wanted.argmax(-1) == got.argmax(-1)).mean()
    return f"KL mean {kl.mean():.5f}, largest {kl.max():.4f}   same likeliest token {same:.2%} of {len(kl)}"


def embeddings(engine: archc.Engine, rows: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """Return the mean hidden state [width] of each row."""
    hidden = engine.encode(rows)
    return [hidden[index, : len(row)].mean(0).astype(np.float64) for index, row in enumerate(rows)]


def cosines(exact: list[NDArray[np.float64]], found: list[NDArray[np.float64]]) -> str:
    values = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(exact, found, strict=True)]
    return f"cosine mean {np.mean(values):.5f}, smallest {min(values):.5f}"


if __name__ == "__main__":
    main()
