"""Parameters and costs without torch, against the modules; `tests/families` compares them in every case."""

from __future__ import annotations

import subprocess
import sys

import pytest

from archc.archspec import load_spec
from archc.archspec import vocabulary as words
from archc.compiler.modules.model import meta_model
from archc.compiler.structure.mlp import mlp
from archc.compiler.structure.model import structure
from archc.compiler.structure.recurrence import recurrence
from archc.compiler.weights.slots import slot_shapes

# Shared layers, tied encoders, residual streams, latents with experts, hybrids, tables of relative positions.
FAMILIES = ["albert", "t5", "gemma3n", "deepseek-v2", "jamba", "deberta-v2", "rwkv7", "squeezebert", "hy-v4"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_slots_are_those_of_the_modules(family: str) -> None:
    bound = load_spec(family).bind(size=next(iter(load_spec(family).sizes)))
    assert list(structure(bound).slots()) == list(slot_shapes(meta_model(bound)).items())


def test_a_token_costs_the_experts_that_it_uses() -> None:
    expert = words.GatedMlp(width=3, activation="silu", bias=True)
    part = mlp(words.MoeMlp(experts=5, per_token=2, router=words.Router(score="sigmoid"), expert=expert), 4)
    assert part.total_flops == 2 * (5 * 4 + 2 * 3 * (3 * 4))
    assert part.parameters == 5 * 4 + 5 * (3 * 12 + 3 + 3 + 4)


def test_a_recurrence_costs_its_operations_on_the_state() -> None:
    word = words.DecayedAverage(width=6, shift=words.StaticShift())
    part = recurrence(word, 4)
    assert part.total_flops == 8 * 6 + 2 * 4 * (4 * 6)
    assert part.parameters == 2 * 6 + 3 * 4 + 4 * (4 * 6)


def test_groups_cost_the_weights_that_they_have() -> None:
    word = words.SelectiveScan(width=6, state=2, step_rank=1, kernel=2, activation="silu")
    whole, halves = (recurrence(word.model_copy(update={"heads": heads}), 4) for heads in (1, 2))
    # Two heads have twice the outputs, each of half the inputs.
    assert (whole.parts["inner"].flops, halves.parts["inner"].flops) == (2 * 6 * 5, 2 * 6 * 5)
    assert (whole.parts["step"].flops, halves.parts["step"].flops) == (2 * 1 * 6, 2 * 1 * 6)


def test_shared_weights_count_once_and_compute_each_time() -> None:
    size = next(iter(load_spec("albert").sizes))
    one, two = (structure(load_spec("albert", [f"num_hidden_layers={n}"]).bind(size=size)) for n in (1, 2))
    assert one.parameters == two.parameters
    assert two.total_flops - one.total_flops == one.parts["layers"].total_flops > 0


def test_the_source_of_an_encoder_decoder_costs_a_token_nothing() -> None:
    parts = structure(load_spec("t5").bind(size="small"))
    assert parts.parts["encoder"].total_flops == 0
    crossed = parts.parts["layers"].parts["0"].parts["cross_attention"]
    assert crossed.parts["k"].total_flops == 0 < crossed.parts["q"].total_flops


# Modules that must not be importable: the ones of the extra `build`, and a reference.
BLOCKED = ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "transformers", "huggingface_hub")


COMMANDS = ["list", "check qwen2", "inspect t5", "draw jamba -o -"]


@pytest.mark.parametrize("command", COMMANDS)
def test_specs_are_listed_checked_and_drawn_without_torch(command: str) -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))"
    code = f"{blocked}; from archc.cli.app import main; sys.exit(main({command.split()!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout) > 100
