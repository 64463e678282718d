"""The divisors of rotary frequencies that a GGUF file has in a tensor, as the settings that they are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError

from archc.archspec.vocabulary.position import Llama3Scaling
from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import GgufFile
from archc.compiler.modules.position.rotary_scaling import llama3_frequencies
from archc.compiler.weights.checkpoint.files import read_into

_F32 = 0
_MAX_FACTORS = 2**12


def rope_scaling(file: GgufFile, tensor: str, theta: float, constants: Mapping[str, Any]) -> dict[str, Any]:
    """Return rope_scaling of config.json, whose divisors at the base `theta` are a tensor's.

    The factor is the largest divisor; `constants` are the other settings. Raises BuildError if others are needed.
    """
    found = file.tensors[tensor]
    count = found.shape[0] if len(found.shape) == 1 else 0
    if found.type != _F32 or not 1 <= count <= _MAX_FACTORS:
        raise BuildError(
            f"{file.path}: tensor '{tensor}': expected a vector in F32, got {list(found.shape)}; download it again"
        )
    data = torch.empty(4 * count, dtype=torch.uint8)
    try:
        with file.path.open("rb", buffering=0) as stream:
            read_into(stream, found.start, data)
    except OSError as error:
        raise BuildError(f"{file.path}: tensor '{tensor}' cannot be read: {error}; download it again") from None
    divisors = data.view(torch.float32)
    settings = {**constants, "factor": float(divisors.max())}
    frequencies = theta ** (torch.arange(count, dtype=torch.float32) / -count)
    try:
        scaling = Llama3Scaling(**settings)
    except ValidationError:
        scaling = None
    expected = None if scaling is None else frequencies / llama3_frequencies(frequencies, scaling)
    if expected is None or not torch.allclose(divisors, expected, rtol=1e-3):
        raise BuildError(
            f"{file.path}: tensor '{tensor}': the divisors of the rotary frequencies are not those of a known scaling; "
            "use the model's safetensors files"
        )
    return {"rope_type": "llama3", **settings}
