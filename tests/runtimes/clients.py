"""The programs that open a folder in another runtime, and what each is asked and answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

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


def case_of(family: str) -> Case:
    """Return the family's first case, or one with the sizes that every runtime supports."""
    return _EQUAL_HEADS.get(family) or cases_of(family)[0]


def assert_equal(built: Built, client: Client) -> None:
    """Compare greedy tokens of a folder in another runtime with those of the plan, or an encoder's outputs."""
    folder = built.build_from(built.graphs, "hf", "onnx-hf", "float32")
    kind, engine = built.case.topology, built.engine
    ids = built.ids(1, built.case.length)[0]
    start = list(engine.manifest.tokens.start)
    request = [str(folder), json.dumps(ids), str(NEW), kind, json.dumps(start)]
    run = subprocess.run([*client.words, *request], capture_output=True, text=True, timeout=120, cwd=client.directory)
    assert run.returncode == 0, run.stderr[-2000:]
    _, found = json.loads(run.stdout.strip().splitlines()[-1])
    if kind == "encoder":
        expected = [*engine.logits([ids])[0, -1, :8].tolist(), *engine.encode([ids])[0, -1, :8].tolist()]
        assert found == pytest.approx(expected, abs=1e-3)
    else:
        assert found == engine.generate([ids], max_new_tokens=NEW, ignore_eos=True)[0]
