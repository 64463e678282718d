"""The contract of Optimum's exports, and what has none."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from archc.archspec import load_spec
from archc.compiler.build import build
from archc.compiler.contract.growing import fixed_names
from archc.compiler.errors import BuildError
from archc.compiler.lowerings.driver import Lower
from archc.compiler.modules.model import meta_model
from archc.compiler.passes.cross_branch import HIDDEN, choose, join_cross_projections
from archc.compiler.passes.growing_caches import GrowingCaches
from archc.compiler.tracing.stitch import assemble

TINY = Path(__file__).parents[3] / "examples" / "tiny-qwen2"


def packed(family: str, size: str, *overrides: str) -> ir.Graph:
    """Return the graph of a family after the pass."""
    spec = load_spec(family, overrides).bind(None, size)
    model = assemble(meta_model(spec, torch.float32))["model"]
    GrowingCaches(fixed_names(spec), spec.prefix)(model)
    return model.graph


def test_inputs_and_outputs_have_the_names_of_optimum() -> None:
    graph = packed("qwen2", "0.5b")
    names = [value.name for value in graph.inputs]
    assert names[:4] == ["input_ids", "attention_mask", "position_ids", "past_key_values.0.key"]
    assert len(names) == 3 + 2 * 24
    shapes = {value.name: [str(size) for size in value.shape or ()] for value in (*graph.inputs, *graph.outputs)}
    assert shapes["attention_mask"] == ["batch_size", "total_sequence_length"]
    assert shapes["past_key_values.0.key"] == ["batch_size", "2", "past_sequence_length", "64"]
    assert shapes["present.0.key"] == ["batch_size", "2", "total_sequence_length", "64"]
    assert shapes["logits"] == ["batch_size", "sequence_length", "151936"]
    assert not any(node.op_type in ("UpdateCache", "TakePositions") for node in graph)


@pytest.mark.parametrize(
    ("family", "size", "kinds"),
    [
        ("mamba", "130m", {"conv", "ssm"}),
        ("rwkv6", "1b6", {"shift", "recurrent", "mlp_shift"}),
        ("qwen3-next", "80b-a3b", {"key_values", "conv", "recurrent"}),
        ("granite4", "h-tiny", {"key_values", "conv", "ssm"}),
        ("lfm2", "1.2b", {"key_values", "conv"}),
        ("recurrent-gemma", "2b", {"key_values", "conv", "recurrent", "begun"}),
    ],
    ids=["mamba", "rwkv6", "qwen3-next", "granite4", "lfm2", "recurrent-gemma"],
)
def test_fixed_states_have_the_names_of_transformers_js(family: str, size: str, kinds: set[str]) -> None:
    graph = packed(family, size)
    pasts = [str(value.name) for value in graph.inputs if str(value.name).startswith("past_")]
    assert {name.partition(".")[0].removeprefix("past_") for name in pasts} == kinds
    presents = {str(value.name) for value in graph.outputs} - {"logits"}
    assert presents == {name.replace("past_key_values", "present").replace("past_", "present_") for name in pasts}
    assert not {"lengths", "write_indices", "logit_positions"} & {str(value.name) for value in graph.inputs}


def test_a_decoder_computes_cross_keys_at_its_first_call_alone() -> None:
    traced = assemble(meta_model(load_spec("t5").bind(None, "small"), torch.float32))
    encoder, decoder = (model.graph for model in join_cross_projections(traced).values())
    assert [value.name for value in encoder.outputs] == ["hidden_states"]
    GrowingCaches()(ir.Model(decoder, ir_version=9))
    Lower({"Choose": choose})(ir.Model(decoder, ir_version=9))
    names = {str(value.name) for value in decoder.inputs}
    assert {name for name in names if ".0." not in name and name.count(".") < 2} == {
        "input_ids",
        "encoder_attention_mask",
        "encoder_hidden_states",
        "use_cache_branch",
    }
    own = [f"past_key_values.0.{stack}.{kind}" for stack in ("decoder", "encoder") for kind in ("key", "value")]
    assert [str(value.name) for value in decoder.inputs if ".0." in str(value.name)] == own
    readers = {use.node.op_type for value in decoder.inputs if value.name == HIDDEN for use in value.uses()}
    branches = [node for node in decoder if node.op_type == "If"]
    assert len(branches) == 1
    assert readers == {"Linear"}
    assert not any(value.name == HIDDEN for node in decoder for value in node.inputs if value is not None)


def test_a_folder_has_the_files_of_the_checkpoint_and_is_replaced(tmp_path: Path) -> None:
    folder = build(TINY, out=tmp_path / "hf", target="onnx-hf")
    files = {path.name for path in folder.iterdir()}
    assert files > {"config.json", "tokenizer.json", "genai_config.json", "model.onnx", "weights.bin"}
    assert set(json.loads((folder / "archc.json").read_bytes())["entries"]) == files - {"archc.json"}
    model = json.loads((folder / "genai_config.json").read_bytes())["model"]
    assert (model["decoder"]["num_key_value_heads"], model["decoder"]["head_size"]) == (2, 32)
    assert model["eos_token_id"] == [1020, 1023]
    build(TINY, out=folder, target="onnx-hf")
    (folder / "mine.txt").write_text("")
    with pytest.raises(BuildError, match="contains files that archc did not write"):
        build(TINY, out=folder, target="onnx-hf")
    (folder / "mine.txt").unlink()
    (folder / "archc.json").write_text("{}")
    with pytest.raises(BuildError, match="was not written by archc"):
        build(TINY, out=folder, target="onnx-hf")


def test_a_cache_of_blocks_grows_by_whole_blocks() -> None:
    graph = packed("deepseek-v4", "flash", "num_hidden_layers=4")
    shapes = {str(value.name): [str(size) for size in value.shape or ()] for value in (*graph.inputs, *graph.outputs)}
    blocks = {name: shape for name, shape in shapes.items() if name.endswith(".compressed.key")}
    sizes = {shape[2].rpartition("_")[2] for shape in blocks.values()}
    assert len(sizes) > 1
    for name, shape in blocks.items():
        time = "past" if name.startswith("past_key_values") else "total"
        assert shape[:3] == ["batch_size", "1", f"{time}_blocks_of_{shape[2].rpartition('_')[2]}"]
    masks = [node.outputs[0] for node in graph if node.op_type == "MaskOfBlocks"]
    # Caches are as long as masks, so that no part of them is copied.
    assert {str(mask.shape[3]) for mask in masks if mask.shape} == {f"total_blocks_of_{size}" for size in sizes}


def test_a_prompt_is_a_state_of_a_prefix_lm() -> None:
    graph = packed("chatglm", "6b", "num_layers=1")
    shapes = {str(value.name): str(value.shape) for value in (*graph.inputs, *graph.outputs)}
    assert shapes["past_prompt"] == shapes["present_prompt"] == "[batch_size,2]"
    assert not {"position_ids", "block_position_ids"} & set(shapes)


def test_alibi_counts_the_positions_of_keys() -> None:
    graph = packed("bloom", "560m", "n_layer=1")
    (bias,) = {value for node in graph for value in node.inputs if value is not None and value.name == "alibi.0"}
    assert str(bias.shape) == "[batch,16,1,total_sequence_length]"
    producer = bias.producer()
    assert producer is not None
    assert producer.op_type == "Mul"
