"""Chat formats that only published code defines: one question, a system message, and two rounds, as text."""

from __future__ import annotations

from typing import Any

import pytest

from archc.archspec import load_spec
from archc.runtime.text.json_file import JsonTokenizer
from archc.runtime.text.tokenizer import Tokenizer
from tests.compiler.text import families

ENGINE = JsonTokenizer(b'{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}')
QUESTION = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}
ROUNDS = [QUESTION, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Bye"}]

# Family and config; then the text of a question, of a system message and a question, and of two rounds.
FORMATS: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    # chat of THUDM/chatglm-6b, modeling_chatglm.py; the system message of lm-sys/FastChat, conversation.py.
    "chatglm": (
        "chatglm",
        families.CHATGLM,
        "Hi[gMASK]<sop>",
        "Be brief.\nHi[gMASK]<sop>",
        "[Round 0]\n问：Hi\n答：Hello!\n[Round 1]\n问：Bye\n答：[gMASK]<sop>",
    ),
    # build_prompt of THUDM/chatglm2-6b, tokenization_chatglm.py; the system message of lm-sys/FastChat.
    "chatglm2": (
        "chatglm2",
        families.CHATGLM2,
        "[gMASK]sop[Round 1]\n\n问：Hi\n\n答：",
        "[gMASK]sopBe brief.\n\n[Round 1]\n\n问：Hi\n\n答：",
        "[gMASK]sop[Round 1]\n\n问：Hi\n\n答：Hello!\n\n[Round 2]\n\n问：Bye\n\n答：",
    ),
    # chat_template of THUDM/chatglm3-6b; the same texts are in llama.cpp, tests/test-chat-template.cpp.
    "chatglm3": (
        "chatglm3",
        families.CHATGLM3,
        "[gMASK]sop<|user|>\n Hi<|assistant|>",
        "[gMASK]sop<|system|>\n Be brief.<|user|>\n Hi<|assistant|>",
        "[gMASK]sop<|user|>\n Hi<|assistant|>\n Hello!<|user|>\n Bye<|assistant|>",
    ),
    # build_single_message of THUDM/glm-4-9b-chat, tokenization_chatglm.py.
    "glm-4": (
        "chatglm3",
        families.GLM4,
        "[gMASK]<sop><|user|>\nHi<|assistant|>",
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHi<|assistant|>",
        "[gMASK]<sop><|user|>\nHi<|assistant|>\nHello!<|user|>\nBye<|assistant|>",
    ),
    # build_chat_input of Baichuan-13B-Chat and Baichuan2, generation_utils.py.
    **{
        name: (name, config, "<u>Hi<a>", "Be brief.<u>Hi<a>", "<u>Hi<a>Hello!<u>Bye<a>")
        for name, config in (
            ("baichuan-13b", families.BAICHUAN_13B),
            ("baichuan2", families.BAICHUAN2),
            ("baichuan2-13b", families.BAICHUAN2_13B),
        )
    },
    # make_context of Qwen/Qwen-7B-Chat, qwen_generation_utils.py, with the system message of `chat`.
    "qwen": (
        "qwen",
        families.QWEN,
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    ),
    # build_inputs of internlm/internlm-chat-7b, modeling_internlm.py.
    "internlm": (
        "internlm",
        families.INTERNLM,
        "<s><|User|>:Hi\n<|Bot|>:",
        "<s><|System|>:Be brief.\n<|User|>:Hi\n<|Bot|>:",
        "<s><|User|>:Hi\n<|Bot|>:Hello!<eoa>\n<|User|>:Bye\n<|Bot|>:",
    ),
    # SeparatorStyle.YUAN2 of lm-sys/FastChat, conversation.py, by the authors (docs/Yuan2_fastchat.md).
    "yuan2": ("yuan2", families.YUAN, "Hi<sep>", "Be brief.\nHi<sep>", "Hi<n>Hello!<n>Bye<sep>"),
    # encode_messages of deepseek-ai/DeepSeek-V4-Flash, encoding/encoding_dsv4.py, without reasoning.
    "deepseek-v4": (
        "deepseek-v4",
        {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 8, "head_dim": 16},
        "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜></think>",
        "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜></think>",
        "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜></think>Hello!<｜end▁of▁sentence｜><｜User｜>Bye<｜Assistant｜></think>",
    ),
    # rwkv-world of llama.cpp, src/llama-chat.cpp.
    "rwkv5": (
        "rwkv5",
        families.RWKV5,
        "User: Hi\n\nAssistant:",
        "System: Be brief.\n\nUser: Hi\n\nAssistant:",
        "User: Hi\n\nAssistant: Hello!\n\nUser: Bye\n\nAssistant:",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_texts_are_those_of_the_published_code(name: str) -> None:
    family, config, question, system, rounds = FORMATS[name]
    template = load_spec(family).bind(config).text_settings.chat
    tokenizer = Tokenizer(ENGINE, {}, template)
    messages = ([QUESTION], [SYSTEM, QUESTION], ROUNDS)
    texts = tuple(tokenizer.chat(turns, user_token="<u>", assistant_token="<a>") for turns in messages)
    assert texts == (question, system, rounds)
