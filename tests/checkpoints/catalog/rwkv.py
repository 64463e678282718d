"""RWKV in its authors' form, a .pth file alone; in the hub's form, and in that of flash-linear-attention."""

from __future__ import annotations

import torch

from tests.checkpoints.catalog.references import Make, by_hand, hub
from tests.checkpoints.checkpoint import Checkpoint
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import byte_level_json, world
from tests.reference.rwkv4 import original_name
from tests.reference.rwkv5 import Rwkv5, hub_name
from tests.reference.rwkv6 import Rwkv6
from tests.reference.rwkv7 import Rwkv7

TURNS = "User: hello fox 12345\n\nAssistant: lazy dog\n\nUser: 你好 jumps\n\nAssistant:"
PILE: Make = hub("RwkvForCausalLM", cached=False, attention="eager", table=0.1)


def world_file(version: int, source: str, file: str, reference: Make) -> Checkpoint:
    """A World model as BlinkDL publishes it; the vocabulary is in the package rwkv."""
    return Checkpoint(
        name=f"RWKV-{version} World (BlinkDL)",
        source=source,
        spec=f"rwkv{version}",
        reference=reference,
        stored=Stored(file),
        has_config=False,
        vocabulary=world(),
        is_tokenizer_elsewhere=True,
        chat=TURNS,
    )


CHECKPOINTS = (
    Checkpoint(
        name="RWKV-4 Pile (BlinkDL)",
        source="RWKV/rwkv-4-169m-pile",
        spec="rwkv4",
        changes={"rescale_every": 0},
        reference=PILE,
        stored=Stored("RWKV-4-Pile-169M-20220807-8023.pth", rename=original_name),
        has_config=False,
        vocabulary=byte_level_json(nfc=True, file="20B_tokenizer.json"),
        is_tokenizer_elsewhere=True,
        chat=TURNS,
    ),
    world_file(
        5,
        "RWKV/rwkv-5-world-1b5",
        "RWKV-5-World-1B5-v2-20231025-ctx4096.pth",
        by_hand(Rwkv5, eps=1e-5),
    ),
    world_file(
        6,
        "RWKV/rwkv-6-world-1b6",
        "RWKV-x060-World-1B6-v2.1-20240328-ctx4096.pth",
        by_hand(Rwkv6, eps=1e-5),
    ),
    world_file(
        7,
        "fla-hub/rwkv7-0.4B-world",
        "RWKV-x070-World-0.4B-v2.9-20250107-ctx4096.pth",
        by_hand(Rwkv7, eps=1e-5),
    ),
    Checkpoint(
        name="RWKV-4 169M Pile",
        source="RWKV/rwkv-4-169m-pile",
        spec="rwkv4",
        reference=PILE,
        stored=Stored("pytorch_model.bin", torch.float32),
        vocabulary=byte_level_json(nfc=True),
        roles={"bos_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>"},
        chat=TURNS,
    ),
    Checkpoint(
        name="RWKV-5 World 1.5B",
        source="RWKV/rwkv-5-world-1b5",
        spec="rwkv5",
        reference=by_hand(Rwkv5, hub=True),
        stored=Stored("pytorch_model.bin"),
        vocabulary=world(),
        chat=TURNS,
    ),
    Checkpoint(
        name="RWKV-6 World 1.6B",
        source="RWKV/rwkv-6-world-1b6",
        spec="rwkv6",
        reference=by_hand(Rwkv6, rank=32, decay_rank=64),
        stored=Stored("pytorch_model.bin", rename=hub_name),
        vocabulary=world(),
        chat=TURNS,
    ),
    Checkpoint(
        name="RWKV-7 World 0.4B (fla-hub)",
        source="fla-hub/rwkv7-0.4B-world",
        spec="rwkv7",
        reference=by_hand(Rwkv7, fla=True),
        stored=Stored(),
        vocabulary=world(),
        chat=TURNS,
    ),
)
