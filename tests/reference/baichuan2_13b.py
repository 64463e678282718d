"""Baichuan2 13B: Baichuan with ALiBi and a head whose rows have length one."""

from __future__ import annotations

from functools import partial

from tests.families.case import Case
from tests.reference.baichuan import Baichuan

NAME = "BaichuanForCausalLM"

CASES = (
    Case("six-heads", partial(Baichuan, 31, NAME, alibi=True, norm_head=True), length=23, spec="baichuan2-13b"),
    Case("five-heads", partial(Baichuan, 32, NAME, alibi=True, norm_head=True, heads=5), length=23, spec="baichuan2-13b"),
)
