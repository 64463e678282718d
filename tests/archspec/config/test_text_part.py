from __future__ import annotations

import pytest

from archc.archspec import ConfigError, detect_spec
from archc.archspec.config.text_part import is_multimodal, text_part


def test_a_text_model_is_its_own_part() -> None:
    config = {"model_type": "llama", "hidden_size": 8, "text_config": None}
    assert text_part(config) == config
    assert not is_multimodal(config)


def test_nested_text_model() -> None:
    config = {
        "model_type": "omni",
        "eos_token_id": 9,
        "tie_word_embeddings": True,
        "thinker_config": {
            "model_type": "omni_thinker",
            "text_config": {"model_type": "llama", "eos_token_id": 3, "tie_word_embeddings": False},
            "audio_config": {"hidden_size": 4},
        },
        "talker_config": {"hidden_size": 5},
    }
    assert text_part(config) == {"model_type": "llama", "eos_token_id": 3, "tie_word_embeddings": True}
    assert is_multimodal(config)


def test_settings_of_the_file_complete_the_text_model() -> None:
    config = {"model_type": "llava", "quantization_config": {"bits": 4}, "text_config": {"hidden_size": 8}}
    assert text_part(config) == {"model_type": "llava", "hidden_size": 8, "quantization_config": {"bits": 4}}


def test_parts_next_to_the_keys_of_the_text_model() -> None:
    config = {"model_type": "qwen2_vl", "hidden_size": 8, "vision_config": {"depth": 1}}
    assert text_part(config) == {"model_type": "qwen2_vl", "hidden_size": 8}
    assert is_multimodal(config)


def test_detection_by_the_text_model() -> None:
    config = {"model_type": "pictures", "architectures": ["Unknown"], "text_config": {"model_type": "qwen3"}}
    assert detect_spec(config) == "qwen3"
    config["text_config"] = {"model_type": "qwen33"}
    with pytest.raises(ConfigError, match=r"^config.json: text_config.model_type: no spec matches model_type 'qwen33'"):
        detect_spec(config)


def test_the_projection_of_contrastive_models_is_the_files() -> None:
    config = {
        "logit_scale_init_value": 2.6,
        "projection_dim": 5,
        "text_config": {"model_type": "clip_text_model", "projection_dim": 3},
    }
    assert text_part(config) == {"model_type": "clip_text_model", "projection_dim": 5}
    del config["logit_scale_init_value"]
    assert text_part(config)["projection_dim"] == 3
