"""Defaults of a word that follow another key of it."""

from __future__ import annotations

import pytest

from archc.archspec import vocabulary as words


@pytest.mark.parametrize(("keys", "expected"), [(None, True), (False, False)])
def test_keys_have_the_bias_of_queries_unless_stated(keys: bool | None, expected: bool) -> None:
    assert words.ProjectionBias(qkv=True, keys=keys).on_keys is expected


def test_values_have_the_width_of_keys_unless_stated() -> None:
    attention = words.GroupedQueryAttention(heads=4, kv_heads=2, head_dim=8)
    assert attention.value_width == 8
    assert attention.model_copy(update={"value_dim": 6}).value_width == 6


@pytest.mark.parametrize(("down_bias", "expected"), [(None, False), (True, True)])
def test_down_projection_has_the_bias_of_the_others_unless_stated(down_bias: bool | None, expected: bool) -> None:
    mlp = words.GatedMlp(width=8, activation="silu", bias=False, down_bias=down_bias)
    assert mlp.has_down_bias is expected


@pytest.mark.parametrize(("chosen", "limited"), [(1, True), (2, False)])
def test_groups_that_are_all_chosen_are_no_groups(chosen: int, limited: bool) -> None:
    router = words.Router(groups=words.ExpertGroups(count=2, chosen=chosen))
    assert (router.groups is not None) is limited
