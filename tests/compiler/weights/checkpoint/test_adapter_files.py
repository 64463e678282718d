"""Adapters in the form of former versions of PEFT, and tokenizers that are saved next to an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaForCausalLM

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.adapters import AdapterOption
from archc.runtime.engine import load
from tests.compiler.weights.checkpoint.test_adapters import llama, logits, merged_logits, write_adapter, write_base

SAVED = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}


def write_words(folder: Path, count: int) -> None:
    tokenizer = Tokenizer(WordLevel({f"w{index}": index for index in range(count)}, unk_token="w0"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def test_a_file_of_torch_save(tmp_path: Path) -> None:
    base = write_base(llama(), tmp_path / "base")
    adapter = tmp_path / "adapter"
    model = get_peft_model(llama(), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "up_proj"], r=3))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2)
    model.save_pretrained(adapter, safe_serialization=False)
    if (adapter / "adapter_model.safetensors").is_file():  # versions of PEFT without the former form
        (adapter / "adapter_model.safetensors").unlink()
        torch.save(get_peft_model_state_dict(model), adapter / "adapter_model.bin")
    assert (logits(base, [AdapterOption(adapter)]) - merged_logits(base, adapter)).abs().max() < 2e-5
    (adapter / "adapter_model.bin").write_bytes(b"\x80\x02csystem\n.")
    with pytest.raises(BuildError, match=r"adapter_model\.bin: "):
        logits(base, [AdapterOption(adapter)])


def test_the_tokenizer_of_a_table_with_more_tokens(tmp_path: Path) -> None:
    base = write_base(llama(), tmp_path / "base")
    write_words(base, 40)
    larger = llama()
    larger.resize_token_embeddings(43)
    adapter = write_adapter(larger, tmp_path / "adapter", **SAVED)
    write_words(adapter, 43)
    said: list[str] = []
    plan = build(base, out=tmp_path / "a.plan", adapters=[adapter], overrides=["embedding.vocab=43"], warn=said.append)
    engine = load(plan)
    assert engine.tokenizer is not None
    assert engine.tokenizer.encode("w41 w42 w3") == [41, 42, 3]
    assert said == []
    model = LlamaForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(43)
    with torch.no_grad():
        expected = (
            PeftModel.from_pretrained(model, adapter).merge_and_unload().eval()(torch.tensor([[41, 42, 3]])).logits
        )
    assert (torch.from_numpy(engine.logits([[41, 42, 3]])) - expected).abs().max() < 2e-5


@pytest.mark.parametrize(
    ("count", "settings"), [(43, {"target_modules": ["q_proj"]}), (40, SAVED)], ids=["no-table", "same"]
)
def test_another_tokenizer_of_an_adapter_is_mentioned(tmp_path: Path, count: int, settings: dict[str, object]) -> None:
    base = write_base(llama(), tmp_path / "base")
    write_words(base, 40)
    adapter = write_adapter(llama(), tmp_path / "adapter", **settings)
    write_words(adapter, count)
    said: list[str] = []
    engine = load(build(base, out=tmp_path / "a.plan", adapters=[adapter], warn=said.append))
    assert engine.tokenizer is not None
    assert engine.tokenizer.encode("w41 w39") == [0, 39]
    expected = f"{adapter}: the adapter's tokenizer, which has another vocabulary, is not used; "
    assert said == ([] if count == 40 else [f"{expected}use it with --tokenizer {adapter}"])
    chosen = load(build(base, out=tmp_path / "b.plan", adapters=[adapter], tokenizer=adapter, warn=said.append))
    assert chosen.tokenizer is not None
    assert chosen.tokenizer.encode("w41 w39") == [41 if count == 43 else 0, 39]
