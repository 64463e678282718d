"""The scaling of rotary frequencies in a GGUF file, by settings or by tensors of divisors, as that of config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from archc.archspec.errors import clip
from archc.archspec.vocabulary.position import Llama3Scaling
from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import GgufFile
from archc.compiler.modules.position.rotary_scaling import llama3_frequencies
from archc.compiler.weights.checkpoint.files import read_into

_ONE, _LONG, _SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
FACTORS = (_ONE, _LONG, _SHORT)
"""Tensors of divisors, [pairs], which are settings and no weights."""

_F32 = 0
_MAX_FACTORS = 2**12
_HUB_FORM = "use the model's safetensors files"
# Settings of YaRN whose other values have no counterpart.
_NEUTRAL = {"yarn_ext_factor": 1.0, "yarn_attn_factor": 1.0}


def rope_scaling(
    file: GgufFile, prefix: str, settings: Mapping[str, Any], theta: float, constants: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return rope_scaling of config.json, or None without a scaling.

    `settings` are those of the architecture without their `prefix`, `theta` is the base, and `constants` are settings
    by the kind of the scaling that no file contains. Raises BuildError for a scaling that is not supported.
    """
    place = f"{file.path}: {prefix}rope.scaling"
    own = {
        key.removeprefix("rope.scaling."): value for key, value in settings.items() if key.startswith("rope.scaling.")
    }
    factor = own.get("factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise BuildError(f"{place}.factor: expected a positive number, got {clip(repr(factor))}; {_HUB_FORM}")
    if _LONG in file.tensors or _SHORT in file.tensors:
        return _long_rope(file, own)
    kind = own.get("type", "linear" if factor != 1 else "none")
    if _ONE in file.tensors:
        if kind != "none" or factor != 1:
            raise BuildError(f"{place}: a scaling next to tensor '{_ONE}' is not supported; {_HUB_FORM}")
        return _llama3(file, theta, constants.get("llama3", {}))
    if kind == "none":
        return None
    if kind == "linear":
        return None if factor == 1 else {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        return _yarn(place, own, factor) | constants.get("yarn", {})
    raise BuildError(f"{place}.type: the value {clip(repr(kind))} is not supported; {_HUB_FORM}")


def _yarn(place: str, own: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return YaRN; the attention factor of the file multiplies that of the paper, 1 + 0.1 · ln(factor)."""
    for key, value in _NEUTRAL.items():
        if own.get(key, value) != value:
            raise BuildError(f"{place}.{key}: the value {clip(repr(own[key]))} is not supported; {_HUB_FORM}")
    scaling: dict[str, Any] = {"rope_type": "yarn", "factor": factor}
    for key, source in (
        ("original_max_position_embeddings", "original_context_length"),
        ("beta_fast", "yarn_beta_fast"),
        ("beta_slow", "yarn_beta_slow"),
    ):
        if source in own:
            scaling[key] = own[source]
    if own.get("attn_factor", 1.0) != 1.0:
        scaling["attention_factor"] = own["attn_factor"] * (1 + 0.1 * math.log(max(factor, 1)))
    if multiplier := own.get("yarn_log_multiplier"):
        # The temperature is a factor of the scores alone (DeepSeek-V2), as with two equal coefficients.
        scaling |= dict.fromkeys(("mscale", "mscale_all_dim"), float(f"{10 * multiplier:.6g}"))
    return scaling


def _long_rope(file: GgufFile, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the two lists of divisors of LongRoPE."""
    lists = {}
    for key, name in (("long_factor", _LONG), ("short_factor", _SHORT)):
        if name not in file.tensors:
            raise BuildError(f"{file.path}: tensor '{name}' is missing; download it again")
        lists[key] = [float(f"{value:.7g}") for value in _read(file, name).tolist()]
    scaling: dict[str, Any] = {"rope_type": "longrope", **lists}
    if "original_context_length" in own:
        scaling["original_max_position_embeddings"] = own["original_context_length"]
    if "attn_factor" in own:
        scaling["attention_factor"] = own["attn_factor"]
    return scaling


def _llama3(file: GgufFile, theta: float, constants: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scaling of Llama 3.1, whose divisors at the base `theta` are a tensor's.

    The factor is the largest divisor; `constants` are the other settings. Raises BuildError if others are needed.
    """
    divisors = _read(file, _ONE)
    count = len(divisors)
    settings = {**constants, "factor": float(divisors.max())}
    frequencies = theta ** (torch.arange(count, dtype=torch.float32) / -count)
    try:
        scaling = Llama3Scaling(**settings)
    except ValidationError:
        scaling = None
    expected = None if scaling is None else frequencies / llama3_frequencies(frequencies, scaling)
    if expected is None or not torch.allclose(divisors, expected, rtol=1e-3):
        raise BuildError(
            f"{file.path}: tensor '{_ONE}': the divisors of the rotary frequencies are not those of a known scaling; "
            f"{_HUB_FORM}"
        )
    return {"rope_type": "llama3", **settings}


def _read(file: GgufFile, name: str) -> Tensor:
    """Return a vector in F32, [pairs]. Raises BuildError for another tensor."""
    found = file.tensors[name]
    count = found.shape[0] if len(found.shape) == 1 else 0
    if found.type != _F32 or not 1 <= count <= _MAX_FACTORS:
        raise BuildError(
            f"{found.path}: tensor '{name}': expected a vector in F32, got {list(found.shape)}; download it again"
        )
    data = torch.empty(4 * count, dtype=torch.uint8)
    try:
        with found.path.open("rb", buffering=0) as stream:
            read_into(stream, found.start, data)
    except OSError as error:
        raise BuildError(f"{found.path}: tensor '{name}' cannot be read: {error}; download it again") from None
    return data.view(torch.float32)
