from __future__ import annotations

import pytest

from archc.archspec.config.neutral_keys import is_neutral


@pytest.mark.parametrize(
    "key",
    [
        "torch_dtype",
        "attention_dropout",
        "resid_pdrop",
        "bos_token_id",
        "auto_map",
        "id2label",
        "unsloth_version",
        "is_llama_config",
        "_num_labels",
        "classif_dropout",
        "adapters",
        "transformers.js_config",
        "pooler_fc_size",
        "quantization_config",
    ],
)
def test_neutral_keys(key: str) -> None:
    assert is_neutral(key, "anything")


@pytest.mark.parametrize(
    ("key", "value"),
    [("is_decoder", True), ("sliding_window", 3), ("partial_rotary_factor", 0.5)],
)
def test_other_keys_and_values(key: str, value: object) -> None:
    assert not is_neutral(key, value)
    assert is_neutral(key, None)
    assert is_neutral("is_decoder", False)


@pytest.mark.parametrize(
    "value", [None, False, 0, 0.0, "", [], {}], ids=["null", "false", "0", "0.0", "text", "list", "mapping"]
)
def test_a_value_that_is_off_is_neutral_except_at_switches_of_components(value: object) -> None:
    assert is_neutral("use_mrope", value)
    assert is_neutral("quantization_config", value)
    for key in ("use_rope", "is_causal", "tie_word_embeddings", "partial_rotary_factor"):
        assert is_neutral(key, value) is (value is None)
