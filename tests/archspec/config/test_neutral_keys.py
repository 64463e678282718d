from __future__ import annotations

import pytest

from archc.archspec.config.neutral_keys import is_neutral


@pytest.mark.parametrize(
    "key",
    ["torch_dtype", "attention_dropout", "resid_pdrop", "bos_token_id", "auto_map", "id2label", "quantization_config"],
)
def test_neutral_keys(key: str) -> None:
    assert is_neutral(key, "anything")


@pytest.mark.parametrize(
    ("key", "value"),
    [("is_decoder", True), ("sliding_window", 3)],
)
def test_other_keys_and_values(key: str, value: object) -> None:
    assert not is_neutral(key, value)
    assert is_neutral(key, None)
    assert is_neutral("is_decoder", False)
