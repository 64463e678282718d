"""The page of words in use."""

from __future__ import annotations

from tests.families.words import OUT, page, words_of


def test_the_page_is_up_to_date() -> None:
    assert OUT.read_text("utf-8") == page(), "run python -m tests.families.words --write"


def test_words_of_a_spec_are_kinds_and_keys_that_differ_from_their_defaults() -> None:
    words = words_of("gemma2")
    assert {"position: rope", "layer.norm: rmsnorm", "layer.norm.placement", "attention.softcap"} <= words.keys()
    assert not words.keys() & {"position.fraction", "attention.heads", "mlp: moe", "embedding.norm"}
    assert {"layer.streams: hyper-connections"} <= words_of("hy-v4").keys()
