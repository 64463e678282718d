"""LoRA adapters written by PEFT: a merged checkpoint computes what PEFT's merged model does."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from archc.archspec import read_config
from archc.compiler.build import bind, build, load_torch, open_slots
from archc.compiler.errors import BuildError
from archc.compiler.modules.model import meta_model
from archc.compiler.weights.checkpoint import names as names_module
from archc.compiler.weights.checkpoint.adapters import AdapterOption, open_adapters
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.runtime.engine import load
from archc.verify.compare import verify

IDS = [[3, 9, 27, 4, 12, 36, 8, 24]]
ATTENTION = ["q_proj", "v_proj", "o_proj"]


def llama(tie: bool = False) -> PreTrainedModel:
    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
            tie_word_embeddings=tie,
        )
    )


def gpt2() -> PreTrainedModel:
    torch.manual_seed(2)
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=32))


@dataclass(frozen=True)
class Case:
    base: Callable[[], PreTrainedModel]
    settings: dict[str, Any]


CASES = {
    "lora": Case(llama, {"target_modules": ATTENTION, "r": 4, "lora_alpha": 7}),
    "rslora": Case(llama, {"target_modules": ATTENTION, "r": 4, "lora_alpha": 7, "use_rslora": True}),
    "patterns": Case(
        llama,
        {
            "target_modules": [*ATTENTION, "up_proj", "down_proj"],
            "r": 4,
            "rank_pattern": {"v_proj": 2, r"layers\.1\.mlp\.(up|down)_proj": 5},
            "alpha_pattern": {"q_proj": 3, r"layers\.1\.mlp\.(up|down)_proj": 11},
        },
    ),
    "some-layers": Case(llama, {"target_modules": ["q_proj"], "layers_to_transform": [1]}),
    "embeddings-and-head": Case(llama, {"target_modules": ["embed_tokens", "lm_head", "k_proj"], "r": 3}),
    "modules-to-save": Case(llama, {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens", "lm_head"]}),
    "norm-to-save": Case(llama, {"target_modules": ["q_proj"], "modules_to_save": ["norm"]}),
    "conv1d": Case(gpt2, {"target_modules": ["c_attn", "c_proj", "c_fc"], "r": 4, "fan_in_fan_out": True}),
    "square-conv1d": Case(gpt2, {"target_modules": ["attn.c_proj"], "r": 4, "fan_in_fan_out": True}),
    "conv1d-and-head": Case(gpt2, {"target_modules": ["attn.c_proj", "c_fc", "wpe"], "r": 4, "fan_in_fan_out": True}),
    "biases": Case(gpt2, {"target_modules": ["c_attn"], "r": 4, "fan_in_fan_out": True, "bias": "all"}),
    "lora-bias": Case(gpt2, {"target_modules": ["c_attn"], "r": 4, "fan_in_fan_out": True, "lora_bias": True}),
    "tied-embedding": Case(lambda: llama(tie=True), {"target_modules": ["embed_tokens", "q_proj"], "r": 3}),
}


def write_base(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def write_adapter(model: PreTrainedModel, folder: Path, seed: int = 0, **settings: Any) -> Path:
    """Write an adapter with random numbers, as if trained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
        generator = torch.Generator().manual_seed(seed)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
        adapted.save_pretrained(folder)
    return folder


def merged_logits(base: Path, adapter: Path) -> torch.Tensor:
    """Return the logits of PEFT's merged model."""
    kind = {"llama": LlamaForCausalLM, "gpt2": GPT2LMHeadModel}[read_config(base / "config.json")["model_type"]]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(kind.from_pretrained(base), adapter).merge_and_unload()
        logits: torch.Tensor = model.eval()(torch.tensor(IDS)).logits
    return logits


def logits(base: Path, adapters: Sequence[AdapterOption]) -> torch.Tensor:
    """Return the logits of archc's torch graph."""
    bound = bind(base, read_config(base / "config.json"), None, ())
    model = meta_model(bound)
    load_torch(model, open_slots(bound, model, base, None, adapters))
    positions = torch.arange(len(IDS[0]))[None]
    mask = torch.ones(1, 1, len(IDS[0]), len(IDS[0]), dtype=torch.bool).tril()
    masks = {layer.mask: mask for layer in model.shared_inputs.layers if layer.mask}
    with torch.no_grad():
        found = model(torch.tensor(IDS), masks, position_ids=positions, logit_positions=positions).logits
    assert found is not None
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_merged_adapter_computes_what_peft_does(case: Case, tmp_path: Path) -> None:
    base = write_base(case.base(), tmp_path / "base")
    adapter = write_adapter(case.base(), tmp_path / "adapter", **case.settings)
    expected = merged_logits(base, adapter)
    assert (logits(base, ()) - expected).abs().max() > 1e-2
    assert (logits(base, [AdapterOption(adapter)]) - expected).abs().max() < 2e-5


def test_several_adapters_are_summed_with_their_weights(tmp_path: Path) -> None:
    base = write_base(llama(), tmp_path / "base")
    write_adapter(llama(), tmp_path / "first", 1, target_modules=ATTENTION, r=4)
    write_adapter(llama(), tmp_path / "second", 2, target_modules=["q_proj", "up_proj"], r=4, use_rslora=True)
    model = LlamaForCausalLM.from_pretrained(base)
    expected = model.state_dict()
    for folder, weight in (("first", 0.5), ("second", -2.0)):
        plain = LlamaForCausalLM.from_pretrained(base)
        changed = PeftModel.from_pretrained(plain, tmp_path / folder).merge_and_unload().state_dict()
        original = LlamaForCausalLM.from_pretrained(base).state_dict()
        expected = {name: expected[name] + weight * (changed[name] - original[name]) for name in expected}
    model.load_state_dict(expected)
    found = logits(base, [AdapterOption.parse(f"{tmp_path}/first=0.5"), AdapterOption.parse(f"{tmp_path}/second=-2")])
    assert (found - model(torch.tensor(IDS)).logits).abs().max() < 2e-5


def test_a_base_without_the_prefix_of_its_names(tmp_path: Path) -> None:
    base = write_base(gpt2(), tmp_path / "base")
    adapter = write_adapter(gpt2(), tmp_path / "adapter", target_modules=["c_attn"], fan_in_fan_out=True)
    expected = merged_logits(base, adapter)
    file = base / "model.safetensors"
    save_file({name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}, file)
    assert (logits(base, [AdapterOption(adapter)]) - expected).abs().max() < 2e-5


def test_rows_are_merged_one_range_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_base(llama(), tmp_path / "base")
    adapter = write_adapter(llama(), tmp_path / "adapter", target_modules=["embed_tokens", "q_proj", "lm_head"], r=3)
    weights = open_adapters(open_weights(base), [AdapterOption(adapter)])
    for name in ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "lm_head.weight"):
        whole = weights.read(name)
        assert torch.allclose(weights.read(name, (slice(5, 9),)), whole[5:9], atol=1e-6)
        assert torch.allclose(weights.read(name, (7,)), whole[7], atol=1e-6)
    monkeypatch.setattr(names_module, "_LARGE", 0)
    plan = build(base, out=tmp_path / "rows.plan", adapters=[adapter])
    found = torch.from_numpy(load(plan).logits(IDS))
    assert (found - merged_logits(base, adapter)).abs().max() < 2e-5


def edit_config(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | values), "utf-8")

    return edit


def edit_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return edit


Q = "base_model.model.model.layers.0.self_attn.q_proj"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "dora": (edit_config(use_dora=True), "use_dora: DoRA is not supported"),
    "ia3": (edit_config(peft_type="IA3"), "peft_type 'IA3' is not supported"),
    "pissa": (edit_config(init_lora_weights="pissa"), "init_lora_weights 'pissa' changes the base weights"),
    "alora": (edit_config(alora_invocation_tokens=[1]), "activated LoRA is not supported"),
    "rank-zero": (edit_config(r=0), "r: expected a rank of at least 1, got 0"),
    "alpha-text": (edit_config(lora_alpha="16"), "lora_alpha: expected a number, got '16'"),
    "wrong-rank": (edit_config(r=9), "expected matrices of rank 9 by adapter_config.json"),
    "slow-pattern": (edit_config(rank_pattern={"(a+)+b": 2}), "is not supported; use plain module names"),
    "broken-pattern": (edit_config(alpha_pattern={"(": 2}), "is not a regular expression"),
    "no-config": (lambda folder: (folder / "adapter_config.json").unlink(), "adapter_config.json not found"),
    "no-file": (
        lambda folder: (folder / "adapter_model.safetensors").unlink(),
        "adapter_model.safetensors or adapter_model.bin not found",
    ),
    "magnitudes": (
        edit_tensors(lambda tensors: tensors.update({f"{Q}.lora_magnitude_vector": torch.ones(32)})),
        "DoRA is not supported",
    ),
    "half-a-pair": (edit_tensors(lambda tensors: tensors.pop(f"{Q}.lora_B.weight")), "lora_B not found"),
    "no-target": (
        edit_tensors(lambda tensors: tensors.update({f"{Q}x{key}": tensors[f"{Q}{key}"].clone() for key in AB})),
        "has no tensor 'model.layers.0.self_attn.q_projx.weight'",
    ),
    "wrong-shape": (
        edit_tensors(lambda tensors: tensors.update({f"{Q}.lora_A.weight": torch.ones(8, 33)})),
        "does not fit LoRA matrices",
    ),
    "unread-tensor": (edit_tensors(lambda tensors: tensors.update({"base_model.model.extra": torch.ones(2)})), "extra"),
}
AB = (".lora_A.weight", ".lora_B.weight")


@pytest.mark.parametrize(("damage", "message"), REFUSED.values(), ids=REFUSED)
def test_an_adapter_that_cannot_be_merged(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    base = write_base(llama(), tmp_path / "base")
    adapter = write_adapter(llama(), tmp_path / "adapter", target_modules=["q_proj"])
    damage(adapter)
    with pytest.raises(Exception, match=message) as caught:
        logits(base, [AdapterOption(adapter)])
    assert type(caught.value).__name__ in ("BuildError", "WeightsError")


def test_an_option_is_a_folder_with_an_optional_weight(tmp_path: Path) -> None:
    (tmp_path / "a=2").mkdir()
    assert AdapterOption.parse(f"{tmp_path}/a=2") == AdapterOption(tmp_path / "a=2")
    assert AdapterOption.parse(f"{tmp_path}/a=2=0.25") == AdapterOption(tmp_path / "a=2", 0.25)
    for text, message in (("none", "no such folder"), ("a=2=x", "'x' is not a number"), ("a=2=nan", "is not a number")):
        with pytest.raises(BuildError, match=message):
            AdapterOption.parse(f"{tmp_path}/{text}")


def test_an_adapter_next_to_its_base_is_mentioned(tmp_path: Path) -> None:
    base = write_base(llama(), tmp_path / "base")
    adapter = write_adapter(llama(), tmp_path / "adapter", target_modules=["q_proj"])
    expected = merged_logits(base, adapter)
    shutil.copytree(adapter, base, dirs_exist_ok=True)
    said: list[str] = []
    build(base, out=tmp_path / "a.plan", warn=said.append)
    said = [text for text in said if "no tokenizer file found" not in text]
    assert said == [f"{base}: its LoRA adapter (adapter_config.json) is not merged; merge it with --adapter {base}"]
    merging: list[str] = []
    plan = build(base, out=tmp_path / "b.plan", adapters=[base], warn=merging.append)
    assert not any("LoRA" in text for text in merging)
    assert (torch.from_numpy(load(plan).logits(IDS)) - expected).abs().max() < 2e-5


def test_an_adapter_has_no_place_without_a_base(tmp_path: Path) -> None:
    adapter = write_adapter(llama(), tmp_path / "adapter", target_modules=["q_proj"])
    with pytest.raises(BuildError, match="a LoRA adapter without its base model"):
        build(adapter, out=tmp_path / "a.plan")
    with pytest.raises(BuildError, match="--adapter has no effect on random weights"):
        build("llama", random=1, out=tmp_path / "a.plan", adapters=[adapter])


def test_verify_merges_the_adapters_of_a_plan(tmp_path: Path) -> None:
    base = write_base(llama(), tmp_path / "base")
    adapter = write_adapter(llama(), tmp_path / "adapter", target_modules=["q_proj", "up_proj"])
    engine = load(build(base, out=tmp_path / "a.plan", adapters=[f"{adapter}=0.5"]))
    assert engine.manifest.builder["adapters"] == "adapter=0.5"
    without = verify(engine, base, IDS, new_tokens=4)
    assert not without.ok
    assert "the plan was built with adapters (adapter=0.5)" in without.notes[-1]
    assert verify(engine, base, IDS, new_tokens=4, adapters=[f"{adapter}=0.5"]).ok
