"""The advice of errors about too many tokens."""

from __future__ import annotations

import pytest

from archc.plan.records import Limits
from archc.runtime.errors import fit_length


@pytest.mark.parametrize(
    ("longest", "advice"),
    [
        (None, "shorten it, or build with a larger --max-seq-len if the model's context is longer"),
        (64, "shorten it, because the maximum of this model is 64 tokens"),
        (65, "shorten it, or build with --max-seq-len up to 65"),
    ],
    ids=["older plan", "longest plan", "shorter plan"],
)
def test_a_longer_plan_is_advised_only_if_the_model_allows_it(longest: int | None, advice: str) -> None:
    assert fit_length("shorten it", Limits(max_seq_len=64, vocab_size=1, longest_sequence=longest)) == advice
