"""Baichuan2 7B: Baichuan with rotary positions and a head whose rows have length one, stored as they were trained."""

from __future__ import annotations

from functools import partial

from archc.proof.case import Case
from tests.reference.baichuan import Baichuan

NAME = "BaichuanForCausalLM"

CASES = (
    Case("7b", partial(Baichuan, 21, NAME, norm_head=True, z_loss_weight=0), spec="baichuan2"),
    Case("with-buffers", partial(Baichuan, 22, NAME, norm_head=True, frequencies=True, heads=3), spec="baichuan2"),
)
