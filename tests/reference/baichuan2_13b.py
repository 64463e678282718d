"""Baichuan2 13B: Baichuan with ALiBi and a head whose rows have length one."""

from __future__ import annotations

from functools import partial

from archc.proof.case import Case
from tests.reference.baichuan import Baichuan

NAME = "BaichuanForCausalLM"

CASES = (
    Case(
        "twelve-heads",
        partial(Baichuan, 31, NAME, alibi=True, norm_head=True, heads=12),
        length=23,
        spec="baichuan2-13b",
    ),
    Case(
        "sixteen-heads",
        partial(Baichuan, 32, NAME, alibi=True, norm_head=True, heads=16, width=64),
        length=23,
        spec="baichuan2-13b",
    ),
)
