"""GPT, GPT-2, GPT-J, GPT-NeoX, Pythia, Falcon, BLOOM, MPT, OPT, gpt-oss and Command R."""

from __future__ import annotations

import torch

from archc.proof.case import Reference
from tests.checkpoints import templates
from tests.checkpoints.catalog.references import hub
from tests.checkpoints.checkpoint import Checkpoint, ids_of
from tests.checkpoints.published import Config
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import CL100K, byte_level_json, lower_case_json, merges_files
from tests.compiler.weights.packings.test_mxfp4 import CONFIG as MXFP4
from tests.compiler.weights.packings.test_mxfp4 import pack_stack
from tests.reference.mpt import mpt as make_mpt

F32, F16 = torch.float32, torch.float16
BIN = "pytorch_model.bin"
END = "<|endoftext|>"
ROLES = {"bos_token_id": END, "eos_token_id": END}
GPT2_CONFIG = {"tokenizer_config.json": {"model_max_length": 1024}}
HARMONY = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|return|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|call|>",
)
TURNS = ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>")


def mpt(config: Config) -> Reference:
    """An MPT of the published keys."""
    sizes = {key: config[key] for key in ("vocab_size", "d_model", "n_layers", "n_heads", "max_seq_len")}
    return make_mpt(1, {"alibi": True}, layer_norm_epsilon=1e-5, **sizes)


CHECKPOINTS = (
    Checkpoint(
        name="GPT",
        source="openai-community/openai-gpt",
        spec="gpt",
        reference=hub("OpenAIGPTLMHeadModel", cached=False, attention="eager"),
        stored=Stored(dtype=F32),
        vocabulary=lower_case_json(),
    ),
    Checkpoint(
        name="GPT-2",
        source="openai-community/gpt2",
        spec="gpt2",
        reference=hub("GPT2LMHeadModel"),
        stored=Stored(dtype=F32),
        vocabulary=byte_level_json(with_merges=True),
        roles=ROLES,
        files=GPT2_CONFIG,
    ),
    Checkpoint(
        name="DistilGPT-2",
        source="distilbert/distilgpt2",
        spec="gpt2",
        reference=hub("GPT2LMHeadModel"),
        stored=Stored(dtype=F32),
        vocabulary=byte_level_json(with_merges=True),
        roles=ROLES,
        files=GPT2_CONFIG,
    ),
    Checkpoint(
        name="GPT-J 6B",
        source="EleutherAI/gpt-j-6b",
        spec="gptj",
        reference=hub("GPTJForCausalLM"),
        stored=Stored(BIN, F32),
        vocabulary=byte_level_json(with_merges=True),
        roles=ROLES,
        files=GPT2_CONFIG,
    ),
    Checkpoint(
        name="GPT-NeoX 20B",
        source="EleutherAI/gpt-neox-20b",
        spec="gpt-neox",
        reference=hub("GPTNeoXForCausalLM"),
        stored=Stored(dtype=F16, shards=46),
        vocabulary=byte_level_json(with_merges=True),
        roles=ROLES,
    ),
    Checkpoint(
        name="Pythia 160M",
        source="EleutherAI/pythia-160m",
        spec="gpt-neox",
        reference=hub("GPTNeoXForCausalLM"),
        stored=Stored(dtype=F16),
        vocabulary=byte_level_json(nfc=True),
        roles=ROLES,
    ),
    Checkpoint(
        name="Falcon 7B",
        source="tiiuae/falcon-7b",
        spec="falcon",
        reference=hub("FalconForCausalLM"),
        stored=Stored(shards=2),
        vocabulary=byte_level_json(),
        roles=ROLES,
    ),
    Checkpoint(
        name="Falcon 40B",
        source="tiiuae/falcon-7b",
        changes={"new_decoder_architecture": True, "num_kv_heads": 2},
        spec="falcon",
        reference=hub("FalconForCausalLM"),
        stored=Stored(BIN, shards=9),
        vocabulary=byte_level_json(),
        roles=ROLES,
    ),
    Checkpoint(
        name="Falcon 11B",
        source="tiiuae/falcon-11B",
        spec="falcon",
        reference=hub("FalconForCausalLM"),
        stored=Stored(shards=5),
        vocabulary=byte_level_json(),
        roles=ROLES,
    ),
    Checkpoint(
        name="Falcon RW 1B",
        source="tiiuae/falcon-7b",
        changes={"alibi": True, "bias": True, "multi_query": False, "parallel_attn": False},
        spec="falcon",
        reference=hub("FalconForCausalLM"),
        stored=Stored(BIN),
        vocabulary=byte_level_json(with_merges=True),
        roles=ROLES,
    ),
    Checkpoint(
        name="BLOOM 560M",
        source="bigscience/bloom-560m",
        spec="bloom",
        reference=hub("BloomForCausalLM", attention="eager"),
        stored=Stored(dtype=F16),
        vocabulary=byte_level_json(special=("<unk>", "<s>", "</s>", "<pad>")),
        roles={"bos_token_id": "<s>", "eos_token_id": "</s>", "pad_token_id": "<pad>", "unk_token_id": "<unk>"},
    ),
    Checkpoint(
        name="MPT-7B",
        source="mosaicml/mpt-7b",
        spec="mpt",
        reference=mpt,
        stored=Stored(BIN, shards=2),
        vocabulary=byte_level_json(),
    ),
    *(
        Checkpoint(
            name=f"OPT {size}",
            source=f"facebook/opt-{size.lower()}",
            spec="opt",
            reference=hub("OPTForCausalLM"),
            stored=Stored(BIN, F16),
            vocabulary=merges_files((), ("<s>", "<pad>", "</s>", "<unk>")),
            roles={"bos_token_id": "</s>", "eos_token_id": "</s>", "pad_token_id": "<pad>"},
            files={
                "tokenizer_config.json": {
                    "add_bos_token": True,
                    "add_prefix_space": False,
                    "bos_token": {"__type": "AddedToken", "content": "</s>", "normalized": True},
                    "eos_token": {"__type": "AddedToken", "content": "</s>", "normalized": True},
                    "tokenizer_class": "GPT2Tokenizer",
                },
                "special_tokens_map.json": {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>"},
            },
            begin=("</s>",),
        )
        for size in ("125M", "350M")
    ),
    Checkpoint(
        name="gpt-oss 20B",
        source="unsloth/gpt-oss-20b-BF16",
        spec="gpt-oss",
        changes={"hidden_size": 64, "intermediate_size": 32},
        reference=hub("GptOssForCausalLM", attention="eager"),
        stored=Stored(shards=3, packing="MXFP4", pack=pack_stack, quantization_config=MXFP4),
        vocabulary=byte_level_json(CL100K, HARMONY),
        roles={"eos_token_id": "<|return|>", "pad_token_id": "<|endoftext|>"},
        files={
            "chat_template.jinja": templates.HARMONY,
            "tokenizer_config.json": {"bos_token": "<|startoftext|>", "eos_token": "<|return|>"},
            "generation_config.json": lambda text: (
                ids_of(
                    {"bos_token_id": "<|startoftext|>", "eos_token_id": ("<|return|>", "<|call|>", "<|endoftext|>")},
                    text,
                )
                | {"do_sample": True}
            ),
        },
        chat="<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.<|end|>"
        "<|start|>user<|message|>hello fox 12345<|end|><|start|>assistant<|channel|>final<|message|>lazy dog<|end|>"
        "<|start|>user<|message|>你好 jumps<|end|><|start|>assistant",
    ),
    *(
        Checkpoint(
            name=name,
            source="CohereForAI/c4ai-command-r-v01",
            spec="command-r",
            changes=changes,
            reference=hub("CohereForCausalLM"),
            stored=Stored(dtype=F16, shards=shards),
            vocabulary=byte_level_json(
                special=("<PAD>", "<UNK>", "<BOS_TOKEN>", "<EOS_TOKEN>", *TURNS), begin=("<BOS_TOKEN>",), nfc=True
            ),
            roles={"bos_token_id": "<BOS_TOKEN>", "eos_token_id": TURNS[1], "pad_token_id": "<PAD>"},
            files={
                "tokenizer_config.json": templates.config(
                    templates.COMMAND_R, bos_token="<BOS_TOKEN>", eos_token=TURNS[1], add_bos_token=True
                )
            },
            begin=("<BOS_TOKEN>",),
            chat=f"<BOS_TOKEN>{TURNS[0]}{TURNS[2]}hello fox 12345{TURNS[1]}{TURNS[0]}{TURNS[3]}lazy dog{TURNS[1]}"
            f"{TURNS[0]}{TURNS[2]}你好 jumps{TURNS[1]}{TURNS[0]}{TURNS[3]}",
        )
        for name, shards, changes in (
            ("Command R", 15, {}),
            # 64 layers and 44 shards; queries and keys are normalized.
            ("Command R+", 44, {"use_qk_norm": True, "logit_scale": 0.8333333333333334, "rope_theta": 75000000.0}),
        )
    ),
)
