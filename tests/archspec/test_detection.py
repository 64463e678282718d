"""Detection of the spec by the content of published configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archc.archspec import ConfigError, SpecError, detect_by_tensors, detect_spec, load_spec, load_spec_text
from tests.archspec.samples import matching_specs

CHATGLM: dict[str, Any] = {
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "bos_token_id": 130004,
    "eos_token_id": 130005,
    "gmask_token_id": 130001,
    "mask_token_id": 130000,
    "pad_token_id": 3,
    "hidden_size": 4096,
    "inner_hidden_size": 16384,
    "layernorm_epsilon": 1e-05,
    "max_sequence_length": 2048,
    "num_attention_heads": 32,
    "num_layers": 28,
    "position_encoding_2d": True,
    "torch_dtype": "float16",
    "use_cache": True,
    "vocab_size": 130528,
}
CHATGLM2: dict[str, Any] = {
    "_name_or_path": "THUDM/chatglm2-6b",
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "apply_query_key_layer_scaling": True,
    "apply_residual_connection_post_layernorm": False,
    "attention_dropout": 0.0,
    "attention_softmax_in_fp32": True,
    "bias_dropout_fusion": True,
    "ffn_hidden_size": 13696,
    "fp32_residual_connection": False,
    "hidden_dropout": 0.0,
    "hidden_size": 4096,
    "kv_channels": 128,
    "layernorm_epsilon": 1e-05,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 32,
    "num_layers": 28,
    "original_rope": True,
    "padded_vocab_size": 65024,
    "post_layer_norm": True,
    "rmsnorm": True,
    "seq_length": 32768,
    "use_cache": True,
    "torch_dtype": "float16",
    "transformers_version": "4.27.1",
    "tie_word_embeddings": False,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CHATGLM3 = CHATGLM2 | {"_name_or_path": "THUDM/chatglm3-6b", "transformers_version": "4.30.2", "seq_length": 8192}
GLM4 = CHATGLM2 | {
    "_name_or_path": "THUDM/glm-4-9b-chat",
    "layernorm_epsilon": 1.5625e-07,
    "num_layers": 40,
    "num_hidden_layers": 40,
    "padded_vocab_size": 151552,
    "rope_ratio": 500,
    "seq_length": 131072,
    "eos_token_id": [151329, 151336, 151338],
    "pad_token_id": 151329,
}
BAICHUAN: dict[str, Any] = {
    "model_type": "baichuan",
    "architectures": ["BaiChuanForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 64000,
}
BAICHUAN_13B = {key: value for key, value in BAICHUAN.items() if key != "max_position_embeddings"} | {
    "architectures": ["BaichuanForCausalLM"],
    "_from_model_config": True,
    "hidden_size": 5120,
    "intermediate_size": 13696,
    "model_max_length": 4096,
    "num_attention_heads": 40,
    "num_hidden_layers": 40,
}
BAICHUAN2 = BAICHUAN | {
    "architectures": ["BaichuanForCausalLM"],
    "model_max_length": 4096,
    "vocab_size": 125696,
    "z_loss_weight": 0,
}
BAICHUAN2_13B = BAICHUAN_13B | {"vocab_size": 125696, "z_loss_weight": 0}

PUBLISHED = {
    "chatglm-6b": (CHATGLM, "chatglm"),
    "chatglm-6b of March 2023": (
        CHATGLM | {"vocab_size": 150528, "bos_token_id": 150004, "eos_token_id": 150005},
        "chatglm",
    ),
    "chatglm-6b saved again": (CHATGLM | {"architectures": ["ChatGLMForConditionalGeneration"]}, "chatglm"),
    "chatglm2-6b": (CHATGLM2, "chatglm2"),
    "chatglm2-6b-32k": (CHATGLM2 | {"_name_or_path": "THUDM/chatglm2-6b-32k", "rope_ratio": 16}, "chatglm2"),
    "chatglm2-6b saved again": (
        CHATGLM2 | {"_name_or_path": "/data/ChatGLM2-6B", "architectures": ["ChatGLMForConditionalGeneration"]},
        "chatglm2",
    ),
    "chatglm3-6b": (CHATGLM3, "chatglm3"),
    "chatglm3-6b-base": (CHATGLM3 | {"_name_or_path": "THUDM/chatglm3-6b-base", "seq_length": 32768}, "chatglm3"),
    "chatglm3-6b-32k": (CHATGLM3 | {"_name_or_path": "THUDM/chatglm3-6b-32k", "rope_ratio": 50}, "chatglm3"),
    "glm-4-9b-chat": (GLM4, "chatglm3"),
    "glm-4-9b": (GLM4 | {"_name_or_path": "THUDM/glm-4-9b", "rope_ratio": 1, "seq_length": 8192}, "chatglm3"),
    "glm-4-9b-chat-1m": (GLM4 | {"multi_query_group_num": 4, "rope_ratio": 10000, "seq_length": 1048576}, "chatglm3"),
    "glm-4-9b without a name": ({key: GLM4[key] for key in GLM4 if key != "_name_or_path"}, "chatglm3"),
    "baichuan-7b": (BAICHUAN, "baichuan"),
    "baichuan-13b": (BAICHUAN_13B, "baichuan-13b"),
    # A fine-tune of Baichuan 13B, published with the name of the other generation.
    "baichuan-13b with another name": (
        BAICHUAN_13B | {"_name_or_path": "baichuan-inc/Baichuan2-13B-Chat"},
        "baichuan-13b",
    ),
    "baichuan2-7b": (BAICHUAN2, "baichuan2"),
    "baichuan-7b without a class": ({key: BAICHUAN[key] for key in BAICHUAN if key != "architectures"}, "baichuan"),
    "baichuan2-7b without a class": ({key: BAICHUAN2[key] for key in BAICHUAN2 if key != "architectures"}, "baichuan2"),
    "baichuan2-7b with added tokens": (BAICHUAN2 | {"vocab_size": 125760}, "baichuan2"),
    "baichuan2-13b": (BAICHUAN2_13B, "baichuan2-13b"),
}


@pytest.mark.parametrize(("config", "spec"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_configs_are_detected_and_bind(config: dict[str, Any], spec: str) -> None:
    assert detect_spec(config) == spec
    load_spec(spec).bind(config)


NAMELESS = {key: value for key, value in CHATGLM2.items() if key != "_name_or_path"}


@pytest.mark.parametrize(
    ("config", "specs"),
    [
        (NAMELESS, ["chatglm", "chatglm2", "chatglm3"]),
        (CHATGLM2 | {"_name_or_path": "chatglm3-from-chatglm2"}, ["chatglm2", "chatglm3"]),
        (BAICHUAN2_13B | {"max_position_embeddings": 4096}, ["baichuan-13b", "baichuan2-13b", "baichuan2"]),
        (BAICHUAN2 | {"vocab_size": 64000}, ["baichuan-13b", "baichuan2-13b", "baichuan2"]),
    ],
    ids=["no name", "two names", "two lengths", "another vocabulary"],
)
def test_a_config_that_decides_nothing_is_not_guessed(config: dict[str, Any], specs: list[str]) -> None:
    assert matching_specs(config) == specs


@pytest.mark.parametrize(
    ("tokenizer_config", "spec"),
    [
        ({"name_or_path": "THUDM/chatglm2-6b"}, "chatglm2"),
        ({"name_or_path": "THUDM/chatglm3-6b"}, "chatglm3"),
        ({"chat_template": "[gMASK]sop<|user|>\n {{ messages[0].content }}<|assistant|>"}, "chatglm3"),
    ],
    ids=["name 2", "name 3", "chat template"],
)
def test_the_tokenizer_config_decides_without_a_name(tokenizer_config: dict[str, Any], spec: str) -> None:
    assert detect_spec(NAMELESS | {"_name_or_path": "output"}, "config.json", tokenizer_config) == spec
    assert detect_spec(NAMELESS, "config.json", tokenizer_config) == spec


def test_two_names_are_not_guessed() -> None:
    with pytest.raises(ConfigError, match="matches several specs: chatglm2, chatglm3"):
        detect_spec(CHATGLM3, "config.json", {"name_or_path": "chatglm2"})


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped specs that differ in their conditions only."""
    for name, where in {"deep": "depth > 9", "shallow": "depth < 5 or 'flat' in lower(name)"}.items():
        match = f'match: {{model_type: twin, where: "{where}"}}\n'
        (tmp_path / f"{name}.yaml").write_text(f"family: {name}\n{match}")
    (tmp_path / "single.yaml").write_text("family: single\nmatch: {model_type: one, where: depth}\n")
    monkeypatch.setattr("archc.archspec.source.catalog.specs_dir", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("twins")
@pytest.mark.parametrize(
    ("config", "specs"),
    [
        ({"depth": 10}, ["deep"]),
        ({"depth": 4}, ["shallow"]),
        ({"depth": 7, "name": "Flat"}, ["shallow"]),
        ({"depth": 7}, ["deep", "shallow"]),
        ({}, ["deep", "shallow"]),
        ({"depth": 10, "name": "flat"}, ["deep", "shallow"]),
    ],
    ids=["greater", "less", "text", "neither", "absent key", "both"],
)
def test_conditions(config: dict[str, object], specs: list[str]) -> None:
    assert matching_specs({"model_type": "twin", **config}) == specs


@pytest.mark.usefixtures("twins")
def test_the_condition_of_the_only_candidate_counts() -> None:
    assert detect_spec({"model_type": "one", "depth": 1}) == "single"
    with pytest.raises(ConfigError, match="the config does not fulfill the condition of the spec 'single': 'depth'"):
        detect_spec({"model_type": "one", "depth": 0})


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("depth >", "match.where: 'depth >': invalid expression"),
        ("depth.real", "an attribute (a.b) is not supported"),
        ("3", "match.where: expected a condition on the keys of config.json"),
    ],
    ids=["syntax", "attribute", "number"],
)
def test_invalid_conditions(where: str, message: str) -> None:
    text = f"family: mine\nextends: llama\nmatch: {{model_type: mine, where: {where}}}\n"
    with pytest.raises(SpecError) as raised:
        load_spec_text(text)
    assert message in str(raised.value)


@pytest.fixture
def by_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Specs of checkpoints without config.json: `wide` has what `narrow` has, and one tensor more."""
    for name, tensors in (("narrow", "a.weight"), ("wide", "[a.weight, b.weight]"), ("other", "c")):
        text = f"family: {name}\nmatch: {{model_type: {name}, tensors: {tensors}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text, "utf-8")
    monkeypatch.setattr("archc.archspec.source.catalog.specs_dir", lambda: tmp_path)


@pytest.mark.usefixtures("by_tensors")
def test_detection_by_tensors() -> None:
    assert detect_by_tensors({"a.weight", "x"}, "model.pth") == "narrow"
    assert detect_by_tensors({"c"}, "model.pth") == "other"
    several = "model.pth: no config.json, and the tensors match several specs: narrow, wide; pass the name of one"
    with pytest.raises(ConfigError, match=several):
        detect_by_tensors({"a.weight", "b.weight"}, "model.pth")
    none = "model.pth: no config.json, and no spec matches the names of the tensors; pass the folder with config.json"
    with pytest.raises(ConfigError, match=f"{none}.*specs by tensors: narrow, other, wide"):
        detect_by_tensors({"b.weight"}, "model.pth")


def test_invalid_tensors_of_a_match() -> None:
    with pytest.raises(SpecError, match=r"match\.tensors: expected text or a list of texts"):
        load_spec_text("family: mine\nextends: llama\nmatch: {model_type: mine, tensors: [3]}\n")


@pytest.mark.parametrize("name", ["LlamaForSequenceClassification", "LlamaForQuestionAnswering", "LlamaModel"])
def test_a_class_for_a_task_has_the_spec_of_its_language_model(name: str) -> None:
    assert detect_spec({"model_type": "llama", "architectures": [name]}) == "llama"


def test_another_class_has_no_spec() -> None:
    with pytest.raises(ConfigError, match="no spec for model_type 'llama' matches"):
        detect_spec({"model_type": "llama", "architectures": ["OtherForSequenceClassification"]})


def test_a_spec_without_the_head_of_a_task_is_refused(tmp_path: Path) -> None:
    spec = tmp_path / "plain.yaml"
    spec.write_text("family: plain\nextends: llama\nvariants: []\n")
    sizes = {
        "vocab_size": 8,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    with pytest.raises(SpecError, match="names the class LlamaForTokenClassification, and the head predicts tokens"):
        load_spec(spec).bind({**sizes, "architectures": ["LlamaForTokenClassification"]})
