"""DeepSeek LLM, Coder, MoE, V2, V3 and R1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.checkpoints import templates
from tests.checkpoints.catalog.references import by_hand, hub
from tests.checkpoints.checkpoint import Checkpoint
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import ONE_DIGIT, byte_level_json
from tests.compiler.weights.packings.test_scaled import CONFIG as FP8
from tests.compiler.weights.packings.test_scaled import pack_blocks
from tests.reference.deepseek_moe import DeepseekMoe
from tests.reference.minicpm3 import GAINS

BEGIN, END = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
ROLES = {"bos_token_id": BEGIN, "eos_token_id": END}
TEXT = byte_level_json(ONE_DIGIT, (BEGIN, END, "<|EOT|>", "<｜User｜>", "<｜Assistant｜>"))
CHAT = f"{BEGIN}User: hello fox 12345\n\nAssistant: lazy dog{END}User: 你好 jumps\n\nAssistant:"


def tokenizer_config(template: str | None, eos: str = END) -> Mapping[str, Any]:
    """The first token of a prompt is stated here alone: the post-processor of tokenizer.json has none."""
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": {"__type": "AddedToken", "content": BEGIN, "lstrip": False, "normalized": True},
        "eos_token": {"__type": "AddedToken", "content": eos, "lstrip": False, "normalized": True},
        "tokenizer_class": "LlamaTokenizerFast",
        **({"chat_template": template} if template else {}),
    }


CHECKPOINTS = (
    Checkpoint(
        name="DeepSeek LLM 7B Chat",
        source="deepseek-ai/deepseek-llm-7b-chat",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored("pytorch_model.bin", shards=2),
        vocabulary=TEXT,
        roles=ROLES,
        files={"tokenizer_config.json": tokenizer_config(templates.DEEPSEEK)},
        begin=(BEGIN,),
        chat=CHAT,
    ),
    Checkpoint(
        name="DeepSeek Coder 6.7B Instruct",
        source="deepseek-ai/deepseek-coder-6.7b-instruct",
        spec="llama",
        reference=hub("LlamaForCausalLM"),
        stored=Stored(shards=2),
        vocabulary=TEXT,
        roles={"bos_token_id": BEGIN, "eos_token_id": "<|EOT|>"},
        files={"tokenizer_config.json": tokenizer_config(templates.DEEPSEEK_CODER, "<|EOT|>")},
        begin=(BEGIN,),
        chat=f"{BEGIN}### Instruction:\nhello fox 12345\n### Response:\nlazy dog\n<|EOT|>\n"
        "### Instruction:\n你好 jumps\n### Response:",
    ),
    Checkpoint(
        name="DeepSeek MoE 16B Chat",
        source="deepseek-ai/deepseek-moe-16b-chat",
        spec="deepseek-moe",
        reference=by_hand(DeepseekMoe),
        stored=Stored(shards=7),
        vocabulary=TEXT,
        roles=ROLES,
        files={"tokenizer_config.json": tokenizer_config(templates.DEEPSEEK)},
        begin=(BEGIN,),
        chat=CHAT,
    ),
    Checkpoint(
        name="DeepSeek V2 Lite",
        source="deepseek-ai/DeepSeek-V2-Lite",
        spec="deepseek-v2",
        reference=hub("DeepseekV2ForCausalLM", gains=GAINS),
        stored=Stored(shards=4),
        vocabulary=TEXT,
        roles=ROLES,
        files={"tokenizer_config.json": tokenizer_config(templates.DEEPSEEK)},
        begin=(BEGIN,),
        chat=CHAT,
    ),
    Checkpoint(
        name="DeepSeek V3, R1",
        source="unsloth/DeepSeek-V3-bf16",
        spec="deepseek-v3",
        reference=hub("DeepseekV3ForCausalLM", gains=GAINS),
        stored=Stored(packing="FP8", pack=pack_blocks, quantization_config=FP8),
        vocabulary=TEXT,
        roles=ROLES,
        files={"tokenizer_config.json": tokenizer_config(templates.DEEPSEEK3)},
        begin=(BEGIN,),
        chat=f"{BEGIN}<｜User｜>hello fox 12345<｜Assistant｜>lazy dog{END}<｜User｜>你好 jumps<｜Assistant｜>",
    ),
)
