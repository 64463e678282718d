"""The files that other runtimes read next to a graph: those of the checkpoint, and genai_config.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from archc.archspec import BoundSpec
from archc.compiler.output.genai import NotRunError, genai_config
from archc.compiler.weights.checkpoint.generation import SpecialTokens
from archc.plan.records import State

_GENAI = "genai_config.json"
_COPIED = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
)
_LARGEST = 64 << 20  # bytes of one such file


def runtime_files(
    checkpoint: Path | None,
    spec: BoundSpec,
    states: Sequence[State],
    length: int,
    tokens: SpecialTokens,
    warn: Callable[[str], None],
) -> Mapping[str, bytes]:
    """Return the contents of the files by name; `states` are those of the graph, `length` the most tokens.

    A model that generates and has no genai_config.json is a warning with the reason.
    """
    files = {}
    if checkpoint is not None and checkpoint.is_dir():
        found = (checkpoint / name for name in _COPIED)
        files = {path.name: path.read_bytes() for path in found if path.is_file() and path.stat().st_size <= _LARGEST}
    try:
        files[_GENAI] = json.dumps(genai_config(spec, states, length, tokens), indent=2).encode()
    except NotRunError as reason:
        if spec.topology != "encoder":
            warn(
                f"{_GENAI}: not written, because onnxruntime-genai cannot run this model: {reason}; use another runtime"
            )
    return files
