"""Parameter counts of published sizes, on the meta device, which needs no memory for weights."""

from __future__ import annotations

import pytest

from archc.archspec import load_spec
from archc.compiler.structure.model import structure

# From model cards or papers; if those round, counted by transformers' classes on the meta device.
PUBLISHED = [
    ("small-lm", None, 128_625_408),
    ("gpt2", "small", 124_439_808),
    ("gpt2", "xl", 1_557_611_200),
    ("llama", "llama-2-7b", 6_738_415_616),
    ("llama", "llama-3-8b", 8_030_261_248),
    ("llama", "llama-3.2-1b", 1_235_814_400),
    ("qwen2", "0.5b", 494_032_768),
    ("qwen2", "7b", 7_615_616_512),
    ("gemma", "2b", 2_506_172_416),
    ("gemma", "7b", 8_537_680_896),
    ("falcon", "7b", 6_921_720_704),
    ("falcon", "40b", 41_303_293_952),
    ("baichuan", "7b", 7_000_559_616),
    ("baichuan-13b", "13b", 13_264_901_120),
    ("baichuan2", "7b", 7_505_973_248),
    ("baichuan2-13b", "13b", 13_896_668_160),
    ("openelm", "270m", 271_527_168),
    ("openelm", "1.1b", 1_079_891_456),
    ("chatglm2", "6b", 6_243_584_000),
    ("chatglm3", "glm-4-9b", 9_399_951_360),
    ("qwen", "1.8b", 1_836_828_672),
    ("qwen", "7b", 7_721_324_544),
    ("minicpm3", "4b", 4_073_875_968),
    ("deepseek-v2", "lite", 15_706_484_224),
    ("deepseek-v2", "236b", 235_741_434_880),
    # transformers does not count the selection biases of routers: 58 · 256 and 26 · 64 of them.
    ("deepseek-v3", "671b", 671_026_404_352 + 14_848),
    ("deepseek-v3", "moonlight-16b", 15_960_108_544 + 1_664),
    ("apertus", "8b", 8_053_338_176),
    ("exaone4", "1.2b", 1_279_391_488),
    ("arcee", "4.5b", 4_619_184_640),
    ("codegen", "2b", 2_779_356_160),
    ("albert", "base-v2", 11_812_272),  # without the sentence-order head
    ("rwkv4", "169m", 169_342_464),
    ("rwkv5", "1b5", 1_577_754_624),
    ("rwkv7", "0.1b", 191_034_624),
    ("mamba", "130m", 129_135_360),
    ("mamba", "2.8b", 2_768_345_600),
    ("jamba", "mini", 51_570_323_328),
    ("mixtral", "8x7b", 46_702_792_704),
    ("mixtral", "8x22b", 140_620_634_112),
    ("qwen2-moe", "a2.7b", 14_315_784_192),
    ("qwen3-moe", "30b-a3b", 30_532_122_624),
    ("qwen3-moe", "235b-a22b", 235_093_634_560),
    ("deepseek-moe", "16b", 16_375_728_128),
    ("gpt-oss", "20b", 20_914_757_184),
    ("gpt-oss", "120b", 116_829_156_672),
    ("t5", "small", 60_506_624),
    ("t5", "v1.1-base", 247_577_856),
    ("mt5", "small", 300_176_768),
    ("bart", "base", 139_420_416 + 50_265),  # the card does not count the bias on the logits, a buffer
    ("bart", "large", 406_291_456 + 50_265),
]


@pytest.mark.parametrize(("family", "size", "count"), PUBLISHED, ids=[f"{name}-{size}" for name, size, _ in PUBLISHED])
def test_published_parameter_count(family: str, size: str | None, count: int) -> None:
    assert structure(load_spec(family).bind(size=size)).parameters == count
