"""The programs that open a folder in another runtime, their requests and their answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from archc.proof.built import Built
from archc.proof.case import Case
from tests.families.collection import cases_of
from tests.reference import bart, marian, t5

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = ROOT / "benchmarks/folders"
INSTALLED = ROOT / "build/runtimes"  # by `make test-runtimes`
NEW = 8  # tokens

# optimum-onnx expects the heads of the encoder in the decoder, and heads that divide the width.
_EQUAL_HEADS: Mapping[str, Case] = {
    "t5": t5.Answer("heads", partial(t5.t5, 1, d_kv=9)),
    "bart": bart.Answer("heads", partial(bart.bart, 1, encoder_attention_heads=6), lead=(5,)),
    "marian": marian.Answer("heads", partial(marian.marian, 1, encoder_attention_heads=6)),
}


@dataclass(frozen=True)
class Client:
    """A program and the words that run it, with the folder of its packages as working directory."""

    words: tuple[str, ...]
    directory: Path | None = None

    def open(self, folder: Path, request: Sequence[str]) -> tuple[str, list[float]]:
        """Return the runtime's version, and its tokens or an encoder's outputs. Raises RuntimeError with the reason."""
        words = [*self.words, str(folder), *request]
        run = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=self.directory)
        if run.returncode:
            lines = [line.strip() for line in run.stderr.splitlines() if line.strip()]
            lines = [line for line in lines if not line.startswith("Node.js")]
            errors = [line for line in lines if "Error: " in line] or lines[-1:] or [f"exit code {run.returncode}"]
            raise RuntimeError(errors[0][:200])
        version, found = json.loads(run.stdout.strip().splitlines()[-1])
        return version, found


def _python(program: str, python: str = sys.executable) -> Client:
    return Client((python, str(PROGRAMS / program)))


_NODE = INSTALLED / "node"
CLIENTS: Mapping[str, Client] = {
    "openvino": _python("openvino_cpu.py"),
    "genai": _python("genai.py"),
    "optimum": _python("optimum_onnx.py", str(INSTALLED / "optimum/bin/python")),
    "transformers.js": Client(("node", str(PROGRAMS / "transformers_js.mjs")), _NODE),
    "onnxruntime-web": Client(("node", str(PROGRAMS / "onnxruntime_web.mjs")), _NODE),
    "chromium": Client((sys.executable, str(PROGRAMS / "browser.py"), str(_NODE / "node_modules"))),
}


def case_of(family: str, name: str = "") -> Case:
    """Return the family's first case or that of a name; of encoder-decoders one that every runtime supports."""
    cases = (_EQUAL_HEADS[family],) if family in _EQUAL_HEADS else cases_of(family)
    return next(case for case in cases if not name or case.name == name)


def request_of(built: Built) -> list[str]:
    """Return the words of a request: token ids, number of new tokens, topology and the start tokens of a decoder."""
    ids, start = built.ids(1, built.case.length)[0], list(built.engine.manifest.tokens.start)
    return [json.dumps(ids), str(NEW), built.case.topology, json.dumps(start)]


def expected_of(built: Built) -> list[float]:
    """Return archc's answer to the request: greedy tokens, or eight numbers of each output of an encoder."""
    ids, engine = built.ids(1, built.case.length)[0], built.engine
    if built.case.topology == "encoder":
        return [*engine.logits([ids])[0, -1, :8].tolist(), *engine.encode([ids])[0, -1, :8].tolist()]
    return list(engine.generate([ids], max_new_tokens=NEW, ignore_eos=True)[0])


def agrees(found: Sequence[float], expected: Sequence[float]) -> bool:
    """Return whether tokens are equal, or outputs of an encoder within 1e-3."""
    if any(isinstance(number, float) for number in expected):
        return len(found) == len(expected) and all(abs(a - b) < 1e-3 for a, b in zip(found, expected, strict=True))
    return list(found) == list(expected)
