"""Folders in formats that are not read: the message names the file, and the form to use instead."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights

EXAMPLE = Path(__file__).parents[4] / "examples" / "tiny-qwen2"
FORMATS = {
    "adapter_config.json": "a LoRA adapter without its base model",
    "ckpt-0/tensor00000_000": "use the hub repository hpcai-tech/grok-1",
    "ckpt-0/checkpoint": "a JAX checkpoint is not supported",
    "tf_model.h5": "TensorFlow's format is not supported; use the form of the model with config.json",
    "flax_model.msgpack": "Flax's format is not supported",
    "model.ckpt-1000.index": "TensorFlow's or Lightning's format",
    "model.onnx": "an ONNX model in place of weights",
}


@pytest.mark.parametrize(("name", "message"), FORMATS.items(), ids=FORMATS)
@pytest.mark.parametrize("config", [True, False], ids=["config", "no-config"])
def test_a_format_is_refused_by_its_file(name: str, message: str, config: bool, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    if config:
        shutil.copy(EXAMPLE / "config.json", tmp_path)
    for use in (lambda: open_weights(tmp_path), lambda: build(tmp_path, out=tmp_path.parent / "engine.plan")):
        with pytest.raises(BuildError, match=re.escape(message)) as caught:
            use()
        assert str(caught.value).startswith(str(tmp_path / name).removesuffix("/checkpoint"))


@pytest.mark.parametrize("spec", [None, "qwen2"], ids=["detected", "named"])
def test_params_json_is_named(spec: str | None, tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text('{"dim": 4096}', "utf-8")
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(BuildError, match=r"params\.json: the form with params\.json .* use the same model's hub"):
        build(spec or tmp_path, tmp_path, out=tmp_path / "engine.plan")


def test_an_adapter_next_to_a_model_is_not_its_weights(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    for name in ("adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "model.safetensors").rename(tmp_path / "consolidated.safetensors")
    assert len(open_weights(tmp_path).names()) > 1
