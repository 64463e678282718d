"""Strings to compare a converted tokenizer with its genuine library: scripts and odd characters, seeded."""

from __future__ import annotations

import random

COUNT = 2000
_ENGLISH = [
    "The",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "it's",
    "raining;",
    "don't",
    "you",
    "think",
    "we'll",
    "see",
    "it?",
    "I'd",
    "say",
    "they've",
    "gone",
    "to",
    "New",
    "York,",
    "haven't",
    "they?",
    "Prices",
    "rose",
    "3.5%",
    "to",
    "$1,234.56",
    "on",
    "2024-01-31",
    "at",
    "10:45pm",
    "(UTC+1)",
    "internationalization",
    "naïve",
    "café",
    "Übermensch",
    "Straße",
    "ΑΣ",
    "ΟΔΥΣΣΕΥΣ",
    "İstanbul",
    "привет",
    "мир",
]
_CHINESE = "今天天气很好我们去公园吧。你吃饭了吗?人工智能正在改变世界,中华人民共和国成立于一九四九年!"
_CODE = [
    "def f(x):\n",
    "    return x**2",
    "\t",
    "for (int i=0;i<n;++i) {",
    "}\r\n",
    "// a",
    "#include <x.h>",
    "==",
    "!=",
    "_a1",
]
_SPACE = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\u00a0",
    "\u3000",
    "\u2003",
    "        ",
    "\u200b",
    "\ufeff",
    "\u2581",
]
_EMOJI = ["😀", "👍🏽", "👨\u200d👩\u200d👧", "🇩🇪", "❤\ufe0f", "🏳\ufe0f\u200d🌈"]
_MARKS = [
    "e\u0301",
    "a\u0308\u0301",
    "o\u0302",
    "n\u0303",
    "\u0301",
    "e\u0301\u0302",
    "A\u030a",
    "ใ",
    "か\u3099",
    "각",
    "\u1100\u1161\u11a8",
]
_MARKS += [
    "ﬁ",
    "Ａ",
    "①",
    "ﾊﾞ",
    "㌔",
    "ﷺ",
    "½",
    "\u1161",
    "x\u0323\u0307",
    "q\u0307\u0323",
    "हिन्दी",
    "العَرَبِيَّة",
    "Å",
    "ᄀ",
]
_CONTROL = ["\0", "\x01", "\x07", "\x1b", "\x7f", "\x85", "\ufffd", "\u2028", "\u00ad", "\ue000", "\U000e0041"]
_SPECIAL = [
    "<s>",
    "</s>",
    "<unk>",
    "<pad>",
    "<0x41>",
    "<|endoftext|>",
    "<|im_start|>",
    "[CLS]",
    "[MASK]",
    "[INST]",
    "##ing",
]


def mixture(seed: int = 0, count: int = COUNT) -> list[str]:
    """Return `count` distinct strings: each source alone, the empty string, and random mixtures."""
    draw = random.Random(seed)
    sources = [_ENGLISH, list(_CHINESE), _CODE, _SPACE, _EMOJI, _MARKS, _CONTROL, _SPECIAL]
    texts = {"": None} | {item: None for source in sources for item in source}
    texts |= {source[index] + other: None for source in sources for index in (0, -1) for other in _SPACE}
    texts |= {other + source[index]: None for source in sources for index in (0, -1) for other in _SPACE}
    while len(texts) < count:
        kinds = draw.sample(sources, draw.randint(1, 4))
        parts: list[str] = []
        for _ in range(draw.randint(1, 16)):
            parts.append(draw.choice(draw.choice(kinds)))
            if draw.random() < 0.4:
                parts.append(" ")
        texts["".join(parts)] = None
    return list(texts)[:count]
