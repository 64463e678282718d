"""Baichuan 13B: Baichuan with ALiBi; the power-of-two rule and the rule for other head counts."""

from __future__ import annotations

from functools import partial

from archc.proof.case import Case
from tests.reference.baichuan import Baichuan

NAME = "BaichuanForCausalLM"

CASES = (
    Case("ten-heads", partial(Baichuan, 11, NAME, alibi=True, heads=10), length=23, spec="baichuan-13b"),
    Case("sixteen-heads", partial(Baichuan, 12, NAME, alibi=True, heads=16, width=64), length=23, spec="baichuan-13b"),
)
