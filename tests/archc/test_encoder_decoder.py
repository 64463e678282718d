"""Every command with an encoder-decoder: a small Marian whose tokenizer appends an end token to the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GenerationConfig

from archc.cli.app import main
from archc.proof.from_transformers import FromTransformers
from tests.archc.conftest import Archc
from tests.reference.bart import bart, published
from tests.reference.marian import marian

PAD, START, EOS, VOCAB = 88, 5, 2, 97


def tokenizer() -> Tokenizer:
    """Words w0 … w95, of which </s> ends every source, as the post-processors of such checkpoints do it."""
    words = {f"w{index}": index for index in range(VOCAB) if index != EOS} | {"</s>": EOS}
    made = Tokenizer(models.WordLevel(words, unk_token="w0"))
    made.add_special_tokens(["</s>"])
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    return made


@pytest.fixture(scope="session")
def reference() -> FromTransformers:
    """Return the class whose weights the checkpoint has."""
    return marian(1)


@pytest.fixture(scope="session")
def checkpoint(reference: FromTransformers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint folder as on the hub: the pad token starts every answer and is never generated."""
    folder = tmp_path_factory.mktemp("marian") / "checkpoint"
    reference.save(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"decoder_start_token_id": PAD, "bad_words_ids": [[PAD], [3, 4]], "eos_token_id": EOS}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "generation_config.json").unlink()
    (folder / "tokenizer.json").write_text(tokenizer().to_str(), "utf-8")
    return folder


@pytest.fixture(scope="session")
def plan(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint's plan."""
    out = tmp_path_factory.mktemp("plan") / "engine.plan"
    assert main(["build", str(checkpoint), "-o", str(out)]) == 0
    return out


def test_a_prompt_is_the_source_and_the_tokenizer_ends_it(archc: Archc, plan: Path) -> None:
    found = archc("run", plan, "--prompt", "w9 w33 w4", "--max-new-tokens", 6, "--ignore-eos", "--json").json
    assert found["prompt_ids"] == [9, 33, 4, EOS]
    assert len(found["output_ids"]) == 6
    assert found["text"] == " ".join(f"w{token}" for token in found["output_ids"] if token != EOS)
    assert (found["timing"]["prompt_tokens"], found["finish"]) == (4, "length")
    again = archc("run", plan, "--ids", "9,33,4,2", "--max-new-tokens", 6, "--ignore-eos", "--json").json
    assert again["output_ids"] == found["output_ids"]
    streamed = archc("run", plan, "--prompt", "w9 w33 w4", "--max-new-tokens", 6, "--ignore-eos")
    assert streamed.out == found["text"] + "\n"


def test_it_writes_what_transformers_generate_writes(archc: Archc, plan: Path, reference: FromTransformers) -> None:
    source = [9, 33, 4, 71, 20, EOS]
    wanted = generated(reference, source, decoder_start_token_id=PAD, bad_words_ids=[[PAD]])
    assert wanted[0] == PAD
    ids = ",".join(map(str, source))
    found = archc("run", plan, "--ids", ids, "--max-new-tokens", 9, "--ignore-eos", "--json").json
    assert found["output_ids"] == wanted[1:]


def test_a_forced_first_token_is_part_of_the_start(archc: Archc, tmp_path: Path) -> None:
    reference = bart(2, published, lambda config: config | {"forced_bos_token_id": 0})
    reference.save(tmp_path / "bart")
    assert archc("build", tmp_path / "bart", "-o", tmp_path / "p").code == 0
    source = [9, 33, 4, 71, 20]
    wanted = generated(reference, source, decoder_start_token_id=START, forced_bos_token_id=0)
    found = archc("run", tmp_path / "p", "--ids", "9,33,4,71,20", "--max-new-tokens", 8, "--ignore-eos", "--json").json
    assert [START, 0, *found["output_ids"]] == wanted


def generated(reference: FromTransformers, source: list[int], **options: Any) -> list[int]:
    config = GenerationConfig(
        max_new_tokens=10, do_sample=False, num_beams=1, eos_token_id=None, pad_token_id=PAD, use_cache=False, **options
    )
    rows: list[list[int]] = reference.model.generate(torch.tensor([source]), generation_config=config).tolist()
    return rows[0][:-1]  # the class's config makes it end what it cuts off


def test_an_answer_may_be_begun(archc: Archc, plan: Path) -> None:
    ids = ("--ids", "9,33,4,2", "--max-new-tokens", "4", "--ignore-eos", "--json")
    whole = archc("run", plan, *ids).json["output_ids"]
    rest = archc("run", plan, *ids, "--decoder-ids", f"{PAD},{whole[0]},{whole[1]}").json["output_ids"]
    assert rest[:2] == whole[2:]


def test_verify_compares_with_the_class(archc: Archc, plan: Path, checkpoint: Path) -> None:
    report = archc("verify", plan, "--weights", checkpoint, "--prompt", "w4 w7", "--ids", "1,8,30,77", "--json").json
    assert report["ok"]
    assert "MarianMTModel" in report["reference"]
    assert report["prompts"] == [[1, 8, 30, 77], [4, 7, EOS]]
    assert {item["output"] for item in report["differences"]} == {"logits", "hidden_states"}
    assert report["divergences"] == []


def test_verify_finds_another_checkpoint(archc: Archc, plan: Path, tmp_path: Path) -> None:
    marian(3).save(tmp_path)
    result = archc("verify", plan, "--weights", tmp_path)
    assert result.code == 1
    assert "FAILED" in result.out


def test_verify_falls_back_on_torch_where_a_plan_was_changed(archc: Archc, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "p"
    assert archc("build", checkpoint, "-o", out, "--set", "encoder.mlp.activation=relu").code == 0
    result = archc("verify", out, "--weights", checkpoint)
    assert result.code == 0, result.out
    assert "archc's torch graph" in result.out


def test_inspect_shows_both_stacks_and_what_a_source_costs(archc: Archc, plan: Path) -> None:
    text = archc("inspect", plan, "--check").out
    # Keys and values of 36 numbers in three layers.
    assert "cross-attention: 864 bytes per source token" in text
    assert "cache: 864 bytes per token\n" in text
    assert f"decoder start {PAD}, never generated {PAD}" in text
    assert "checked: the SHA-256 of every entry matches" in text
    shown = archc("inspect", plan, "--json").json
    assert shown["state_bytes_per_source_token"] == {"float32": 864}
    assert (len(shown["layers"]), len(shown["encoder_layers"])) == (3, 2)
    assert (shown["source_context"], shown["context"]) == (48, 48)
    tree = archc("inspect", "t5", "--size", "small").out
    assert "├─ encoder " in tree
    assert "layers.0-5" in tree


def test_a_token_costs_what_every_call_computes(archc: Archc, plan: Path) -> None:
    shown = archc("inspect", plan, "--json").json
    width, decoder_mlp, vocab, layers = 36, 52, VOCAB, 3
    # Four projections of the attention, two of the cross-attention, whose keys and values are made once, and the MLP.
    a_layer = 6 * width * width + 2 * width * decoder_mlp
    assert shown["flops_per_token"] == 2 * (layers * a_layer + width * vocab)
    assert shown["cross_flops_per_token_and_source_token"] == 4 * width * layers


def test_unpacked_and_as_onnx_there_are_two_graphs(archc: Archc, plan: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert archc("unpack", plan, "-o", tmp_path / "unpacked").code == 0
    assert archc("build", checkpoint, "-o", tmp_path / "onnx", "--target", "onnx").code == 0
    for folder in (tmp_path / "unpacked", tmp_path / "onnx"):
        for name in ("model.onnx", "encoder.onnx"):
            onnx.checker.check_model(str(folder / name))
    assert "├─ encoder " in archc("inspect", tmp_path / "onnx").out


def test_each_weight_is_stored_once(plan: Path, archc: Archc) -> None:
    shown = archc("inspect", plan, "--json").json
    assert sum(item["count"] for item in shown["tensors"]) == shown["parameters"]
    names = [item["name"] for item in shown["tensors"]]
    assert len(set(names)) == len(names)
    assert not any(name.startswith("encoder.embedding.tokens") for name in names)


def test_ids_that_do_not_fit(archc: Archc, plan: Path, small: Path) -> None:
    for arguments, said in (
        (("--ids", "97"), "expected an id from 0 to 96"),
        (("--ids", "1", "--decoder-ids", "97"), "expected an id from 0 to 96"),
        (("--ids", "1", "--decoder-ids", "x"), "is not a token id"),
    ):
        result = archc("run", plan, *arguments)
        assert result.code == 2
        assert said in result.errors[0]
    result = archc("run", small, "--ids", "1", "--decoder-ids", "1")
    assert result.code == 2
    assert "decoder_ids: not supported by small-lm" in result.errors[0]


def test_a_tied_table_that_differs_says_what_to_do(archc: Archc, checkpoint: Path, tmp_path: Path) -> None:
    reference = marian(1, lambda tensors: tensors | {"model.encoder.embed_tokens.weight": torch.ones(VOCAB, 36)})
    reference.save(tmp_path)
    result = archc("build", tmp_path, "-o", tmp_path / "p")
    assert result.code == 2
    assert "build with --set encoder.tie=false to use both" in result.errors[0]


def test_a_cache_is_that_of_the_whole_source(archc: Archc, plan: Path, tmp_path: Path) -> None:
    file, options = tmp_path / "source.cache", ("--max-new-tokens", 6, "--ignore-eos", "--json")
    prompts = ("w9 w33 w4", "w9 w33 w4 w8")
    alone = [archc("run", plan, text, *options).json["output_ids"] for text in prompts]
    saved = archc("run", plan, prompts[0], *options, "--save-cache", file).json
    loaded = [archc("run", plan, text, *options, "--load-cache", file).json for text in prompts]
    assert [saved["output_ids"], *(result["output_ids"] for result in loaded)] == [alone[0], *alone]
    assert [result["cached_tokens"] for result in loaded] == [len(saved["prompt_ids"]), 0]
