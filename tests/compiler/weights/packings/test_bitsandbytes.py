"""The formats of bitsandbytes, against its own functions on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes import functional
from safetensors.torch import save_file
from torch import Tensor

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.packings.detect import unpack
from tests.compiler.weights.packings.checkpoints import PackedCheckpoint, Tensors
from tests.reference.llama import llama


def four_bit(name: str, value: Tensor, kind: str, nested: bool, block: int = 64) -> tuple[Tensors, Tensor]:
    codes, state = functional.quantize_4bit(value, blocksize=block, compress_statistics=nested, quant_type=kind)
    parts = {name: codes} | {f"{name}.{key}": part for key, part in state.as_dict(packed=True).items()}
    # The package's kernel for the CPU takes blocks to begin with each row: only of a flat weight are they right.
    state.shape = torch.Size([value.numel()])
    return parts, functional.dequantize_4bit(codes, state).reshape(value.shape)


def int8(name: str, value: Tensor) -> tuple[Tensors, Tensor]:
    rows, largest, _ = functional.int8_vectorwise_quant(value.half())
    layer = name.removesuffix("weight")
    parts = {name: rows, f"{layer}SCB": largest, f"{layer}weight_format": torch.tensor(0, dtype=torch.uint8)}
    return parts, functional.int8_vectorwise_dequant(rows, largest)


CASES: dict[str, Any] = {
    "nf4": lambda name, value: four_bit(name, value, "nf4", nested=False),
    "nf4-nested": lambda name, value: four_bit(name, value, "nf4", nested=True),
    "fp4": lambda name, value: four_bit(name, value, "fp4", nested=False),
    "int8": int8,
}


def checkpoint(folder: Path, case: str) -> PackedCheckpoint:
    def pack(name: str, value: Tensor) -> tuple[Tensors, Tensor] | None:
        result: tuple[Tensors, Tensor] | None = CASES[case](name, value) if name.endswith("_proj.weight") else None
        return result

    config = {"quant_method": "bitsandbytes", "load_in_4bit": case != "int8", "load_in_8bit": case == "int8"}
    reference = llama(4, hidden_size=60, intermediate_size=92, num_attention_heads=6)
    return PackedCheckpoint(folder, reference, pack, config | {"llm_int8_skip_modules": ["lm_head"]})


@pytest.mark.parametrize("case", CASES)
def test_the_weights_are_those_of_the_package(tmp_path: Path, case: str) -> None:
    """Rows of 60 or 92 inputs begin and end inside blocks of 64."""
    checkpoint(tmp_path, case).check_values()


@pytest.mark.parametrize("case", ["nf4-nested", "int8"])
def test_a_plan_is_verified_and_has_the_logits_of_transformers(tmp_path: Path, case: str) -> None:
    packed = checkpoint(tmp_path, case)
    packed.check_build()
    packed.check_verify("bitsandbytes")


def written(folder: Path, tensors: Tensors) -> Any:
    """Return a checkpoint without a config, whose tensors say how they are packed."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return unpack(open_weights(folder), folder)


@pytest.mark.parametrize("case", CASES)
def test_the_tensors_name_the_packing(tmp_path: Path, case: str) -> None:
    parts, widened = CASES[case]("a.weight", torch.randn(24, 48))
    weights = written(tmp_path, parts)
    assert list(weights.names()) == ["a.weight"]
    assert torch.equal(weights.read("a.weight"), widened)


def test_a_first_config_has_no_method(tmp_path: Path) -> None:
    parts, widened = CASES["int8"]("a.weight", torch.randn(24, 48))
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"load_in_8bit": True}}), "utf-8")
    assert torch.equal(written(tmp_path, parts).read("a.weight"), widened)


STATE = "quant_state.bitsandbytes__nf4"


def text(**state: Any) -> Tensor:
    return torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({STATE: torch.ones(4, dtype=torch.uint8)}, "is not a quantization state", id="no-text"),
        pytest.param({STATE: text(shape=[24, 48])}, "is not a quantization state: KeyError", id="no-block-size"),
        pytest.param({STATE: text(shape=[24, 48], blocksize=0)}, "block size 0 do not fit", id="block-of-none"),
        pytest.param({STATE: text(shape=[24, -48], blocksize=64)}, r"shape \[24, -48\]", id="negative"),
        pytest.param({STATE: text(shape=[24, 50], blocksize=64)}, r"'a.weight' has shape \[576, 1\]", id="other-shape"),
        pytest.param({"absmax": torch.ones(7)}, r"'a.weight.absmax' has shape \[7\], expected \[18\]", id="factors"),
        pytest.param({"quant_map": None}, "'a.weight.quant_map' of the packed .* not found", id="no-numbers"),
        pytest.param({"absmax": torch.ones(18, dtype=torch.uint8)}, "has dtype U8, unlike its state", id="nested"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    parts, _ = four_bit("a.weight", torch.randn(24, 48), "nf4", nested=False)
    parts |= {f"a.weight.{end}": tensor for end, tensor in change.items()}
    with pytest.raises(BuildError, match=words):
        written(tmp_path, {name: tensor for name, tensor in parts.items() if tensor is not None})


def test_layouts_of_a_kernel_are_refused(tmp_path: Path) -> None:
    parts, _ = int8("a.weight", torch.randn(24, 48))
    parts["a.weight_format"] = torch.tensor(2, dtype=torch.uint8)
    with pytest.raises(BuildError, match=r"'a\.weight_format': layouts for a kernel"):
        written(tmp_path, parts)
