"""Folders of sentence-transformers: modules.json, whose pooling, projection and normalization are the spec's pooler."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError

MODULES = "modules.json"
CONFIG = "config.json"
# Modules that change nothing: the transformer itself, and dropout, which is off.
_NEUTRAL = ("Transformer", "Dropout")
# Pooler kinds by their name in files, in the older and the newer form.
_POOLERS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_weightedmean_tokens": "weighted",
    "mean": "mean",
    "max": "max",
    "cls": "cls",
    "lasttoken": "last",
    "weightedmean": "weighted",
}
_WAY_OUT = "choose a pooler of the spec with --set pooler=mean, which reads no module"


# Modules of a pooler in the order in which they compute; each may be there once, and two of Dense.
_ORDER = ("Pooling", "Dense", "Dense", "Normalize")
# Activations of a projection by their class in torch; the library's default is tanh.
_ACTIVATIONS = {"Identity": "none", "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu"}
_INPUT = "sentence_embedding"


def pooler_override(folder: Path) -> str | None:
    """Return the override `pooler={kind: …, dense: …, normalize: …}` of a folder, or None without a Pooling module.

    Raises BuildError for modules and modes that are not supported, and for damaged files.
    """
    pooler: dict[str, Any] = {}
    found = []
    for name, path in read_modules(folder):
        if name in _NEUTRAL:
            continue
        if name not in _ORDER:
            raise BuildError(f"{folder / MODULES}: the module {name:.60} is not supported; {_WAY_OUT}")
        found.append(name)
        if name == "Pooling":
            pooler["kind"] = _read_pooling(folder / path / CONFIG)
        elif name == "Dense":
            dense = _read_dense(folder / path / CONFIG)
            if "dense" in pooler:
                pooler["dense"]["then"] = dense
            else:
                pooler["dense"] = dense
        else:
            pooler["normalize"] = True
    if not found:
        return None
    order = iter(_ORDER)
    if not all(name in order for name in found) or "kind" not in pooler:
        shown = ", ".join(found)[:120]
        raise BuildError(
            f"{folder / MODULES}: the modules {shown} are not supported in this order, only {', '.join(_ORDER)}; "
            f"{_WAY_OUT}"
        )
    return f"pooler={json.dumps(pooler)}"


def choose_pooler(folder: Path | None, topology: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides for a folder's pooler; none for a folder without one, or if `overrides` choose a pooler.

    A decoder becomes an encoder with causal masks and without a head. Raises BuildError for an encoder-decoder.
    """
    if folder is None or not (folder / MODULES).is_file():
        return ()
    chosen = {text.split("=")[0].split(".")[0].strip() for text in overrides}
    if "pooler" in chosen:
        return ()
    pooler = pooler_override(folder)
    if pooler is None:
        return ()
    if topology == "encoder-decoder":
        raise BuildError(f"{folder / MODULES}: poolers of an encoder-decoder are not supported; {_WAY_OUT}")
    if topology == "encoder":
        return (pooler,)
    return ("topology=encoder", "direction=past", "head=none", pooler)


def read_modules(folder: Path) -> list[tuple[str, str]]:
    """Return the class name and the folder of each module in modules.json, in order. Raises BuildError if damaged."""
    path = folder / MODULES
    modules = _read_list(path)
    found = []
    for module in modules:
        kind, place = (module.get("type"), module.get("path")) if isinstance(module, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(place, str) or ".." in Path(place).parts or place[:1] == "/":
            raise BuildError(f"{path}: expected modules with a type and a path, got {module!r:.80}; correct it")
        found.append((kind.rpartition(".")[2], place))
    return found


def _read_list(path: Path) -> list[Any]:
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise BuildError(f"{path}: not a JSON file: {error!s:.200}; download it again") from None
    if not isinstance(modules, list):
        raise BuildError(f"{path}: expected a list of modules, got {modules!r:.80}; correct it")
    return modules


def _read_pooling(path: Path) -> str:
    """Return the pooler kind of a Pooling module. Raises BuildError for several modes, or one without a kind."""
    values = _read_settings(path)
    mode = values.get("pooling_mode")
    modes = [key for key, value in values.items() if key.startswith("pooling_mode_") and value]
    if mode is not None:
        modes = [str(item) for item in (mode if isinstance(mode, list) else [mode])]
    if len(modes) != 1 or modes[0] not in _POOLERS:
        shown = ", ".join(modes) or "no mode"
        raise BuildError(
            f"{path}: pooling by {shown:.120} is not supported, only mean, max, cls, lasttoken or "
            f"weightedmean alone; {_WAY_OUT}"
        )
    return _POOLERS[modes[0]]


def _read_dense(path: Path) -> dict[str, Any]:
    """Return the dense projection of a Dense module. Raises BuildError for settings that are not supported."""
    values = _read_settings(path)
    width, bias = values.get("out_features"), values.get("bias", True)
    if not isinstance(width, int) or isinstance(width, bool) or width < 1 or not isinstance(bias, bool):
        raise BuildError(
            f"{path}: expected a number as out_features and true or false as bias, got {width!r:.40} and {bias!r:.40}; "
            "download it again"
        )
    library, _, activation = str(values.get("activation_function", "torch.nn.Tanh")).rpartition(".")
    neutral = {"use_residual": False, "module_input_name": _INPUT, "module_output_name": _INPUT}
    others = [key for key, value in neutral.items() if values.get(key) not in (None, value)]
    if not library.startswith("torch.nn") or activation not in _ACTIVATIONS:
        others.append("activation_function")
    if others:
        shown = ", ".join(f"{key}: {values.get(key)!s:.60}" for key in others)
        raise BuildError(f"{path}: {shown} is not supported; {_WAY_OUT}")
    return {"width": width, "activation": _ACTIVATIONS[activation], "bias": bias}


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BuildError(f"{path}: not found, but modules.json names it; download it, or the whole folder")
    return read_config(path)
