"""Checkpoint folders in formats that are not read: each is refused by its file, with the form to use instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archc.compiler.errors import BuildError


@dataclass(frozen=True)
class _Format:
    """A format by the pattern of its files."""

    pattern: str
    description: str
    remedy: str


_HUB_FORM = "use the form of the model with config.json and .safetensors files"
_ADAPTER = _Format(
    "adapter_config.json",
    "a LoRA adapter without its base model",
    "build the base model's folder, with this folder as --adapter",
)
_FORMATS = (
    _ADAPTER,
    _Format(
        "ckpt-0/tensor00000_000",
        "a folder of pickled JAX arrays, as xai-org/grok-1 has it,",
        "use the hub repository hpcai-tech/grok-1, which has the same weights in the form of torch",
    ),
    _Format("ckpt-0", "a JAX checkpoint", _HUB_FORM),
    _Format("*.gguf", "a GGUF file without a model's decoder", "give the GGUF file with the decoder"),
    _Format("tf_model*.h5", "TensorFlow's format", _HUB_FORM),
    _Format("flax_model*.msgpack", "Flax's format", _HUB_FORM),
    _Format("*.ckpt*", "TensorFlow's or Lightning's format", _HUB_FORM),
    _Format("*.onnx", "an ONNX model in place of weights", _HUB_FORM),
)
_WITHOUT_CONFIG = (
    _ADAPTER,
    _Format(
        "params.json",
        "the form with params.json in place of config.json",
        "use the same model's hub repository or folder with config.json, such as the one whose name ends in -hf",
    ),
)


def refuse_other_formats(folder: Path) -> None:
    """Raise BuildError if a folder without readable weights has a file of a known format."""
    _refuse(folder, _FORMATS)


def refuse_other_configs(folder: Path) -> None:
    """Raise BuildError if a folder without config.json has the settings of a model in another form."""
    _refuse(folder, _WITHOUT_CONFIG)
    if not any(file.suffix in (".safetensors", ".bin", ".pth", ".pt") for file in folder.iterdir()):
        _refuse(folder, _FORMATS)


def _refuse(folder: Path, formats: tuple[_Format, ...]) -> None:
    for each in formats:
        file = next(iter(sorted(folder.glob(each.pattern))), None)
        if file is not None:
            raise BuildError(f"{file}: {each.description} is not supported; {each.remedy}")
