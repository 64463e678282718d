"""MXFP4 stacks, against transformers' own conversion, and gpt-oss as it is published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.packings.mxfp4 import find_mxfp4
from archc.compiler.weights.packings.packing import PackedWeights
from tests.compiler.weights.packings.checkpoints import PackedCheckpoint
from tests.reference.gpt_oss import gpt_oss

STACKS = ("experts.gate_up_proj", "experts.down_proj")


def pack_stack(name: str, value: Tensor) -> tuple[dict[str, Tensor], Tensor] | None:
    """Random numbers in the shape of a stack [E, K, N]: every byte occurs, and exponents on both sides of the bias."""
    if not name.endswith(STACKS):
        return None
    count, columns, rows = value.shape
    random = torch.Generator().manual_seed(sum(name.encode()))
    blocks = torch.randint(0, 256, (count, rows, columns // 32, 16), dtype=torch.uint8, generator=random)
    scales = torch.randint(121, 126, (count, rows, columns // 32), dtype=torch.uint8, generator=random)
    widened = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    return {f"{name}_blocks": blocks, f"{name}_scales": scales}, widened


CONFIG = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PackedCheckpoint:
    reference = gpt_oss(1, hidden_size=64, intermediate_size=32)
    return PackedCheckpoint(tmp_path_factory.mktemp("mxfp4"), reference, pack_stack, CONFIG)


def test_the_weights_are_those_of_transformers(published: PackedCheckpoint) -> None:
    assert len(published.packed) == 4
    published.check_values()


def test_a_plan_has_the_logits_of_transformers(published: PackedCheckpoint) -> None:
    published.check_build()


def test_a_plan_is_verified(published: PackedCheckpoint) -> None:
    published.check_verify("MXFP4")


def stored(folder: Path, **tensors: Tensor) -> PackedWeights:
    save_file(tensors, folder / "model.safetensors")
    weights = open_weights(folder)
    return PackedWeights(weights, find_mxfp4(weights, {}), "MXFP4")


def test_exponents_at_both_ends(tmp_path: Path) -> None:
    blocks = torch.full((1, 3, 1, 16), 0x72, dtype=torch.uint8)
    scales = torch.tensor([[[1], [127], [252]]], dtype=torch.uint8)
    weights = stored(tmp_path, a_blocks=blocks, a_scales=scales)
    assert torch.equal(weights.read("a"), convert_moe_packed_tensors(blocks, scales, dtype=torch.float32))
    assert weights.read("a")[0, :2].t().tolist() == [[2.0**e, 6 * 2.0**e] for e in (-126, 0, 125)]


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    blocks = torch.zeros(2, 3, 1, 16, dtype=torch.uint8)
    for index, (words, tensors) in enumerate(
        {
            "'a_scales' of the packed weight 'a' not found": {"a_blocks": blocks},
            r"'a_scales' has shape \[2, 1\], expected \[2, 3, 1\]": {
                "a_blocks": blocks,
                "a_scales": blocks[:, 0, :, 0],
            },
            "'a_scales': expected exponents in uint8": {"a_blocks": blocks, "a_scales": torch.zeros(2, 3, 1)},
            r"'a_blocks' has shape \[2, 3, 1, 8\]": {"a_blocks": blocks[..., :8]},
        }.items()
    ):
        folder = tmp_path / str(index)
        folder.mkdir()
        with pytest.raises(BuildError, match=words):
            stored(folder, **{name: tensor.contiguous() for name, tensor in tensors.items()})
