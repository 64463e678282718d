"""RWKV in the hub's form, in that of flash-linear-attention, and in the files of its author."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.checkpoints.catalog.references import Make, by_hand, hub
from tests.checkpoints.checkpoint import Checkpoint
from tests.checkpoints.published import Config
from tests.checkpoints.stored import Stored
from tests.checkpoints.texts import byte_level_json, world
from tests.families.case import Reference
from tests.reference.by_hand import ByHand
from tests.reference.from_transformers import FromTransformers
from tests.reference.rwkv import Rwkv
from tests.reference.rwkv4 import original
from tests.reference.rwkv5 import Rwkv5, hub_name
from tests.reference.rwkv6 import Rwkv6
from tests.reference.rwkv7 import Rwkv7

TURNS = "User: hello fox 12345\n\nAssistant: lazy dog\n\nUser: 你好 jumps\n\nAssistant:"
PILE: Make = hub("RwkvForCausalLM", cached=False, attention="eager", table=0.1)


def pth(folder: Path, reference: Reference) -> None:
    """Write one .pth file under the original names, without a config.json."""
    if isinstance(reference, FromTransformers):
        weights = original(reference.model.state_dict())
    else:
        assert isinstance(reference, ByHand)
        weights = reference.weights
    torch.save({name: value.detach().bfloat16() for name, value in weights.items()}, folder / "RWKV.pth")


def with_own_eps(kind: Callable[..., Rwkv], head_eps: float, **options: Any) -> Make:
    """Return the maker of a model with the constants of the author's code, which no file contains."""

    def made(config: Config) -> Reference:
        reference = kind(1, vocab=config["vocab_size"], **options)
        reference.eps, reference.last_eps, reference.head_eps = 1e-5, 1e-5, head_eps
        return reference

    return made


def author(name: str, spec: str, reference: Make) -> Checkpoint:
    """A World model of BlinkDL, whose repository has weights alone."""
    return Checkpoint(
        name=name,
        source=None,
        spec=spec,
        changes={"vocab_size": 0},
        reference=reference,
        stored=Stored("RWKV.pth"),
        own_form=pth,
        vocabulary=world(),
        is_tokenizer_elsewhere=True,
        chat=TURNS,
    )


CHECKPOINTS = (
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
    Checkpoint(
        name="RWKV-4 169M Pile (BlinkDL)",
        source="RWKV/rwkv-4-169m-pile",
        spec="rwkv4",
        reference=PILE,
        stored=Stored("RWKV.pth"),
        own_form=pth,
        vocabulary=byte_level_json(nfc=True, file="20B_tokenizer.json"),
        is_tokenizer_elsewhere=True,
        chat=TURNS,
    ),
    author("RWKV-5 World (BlinkDL)", "rwkv5", with_own_eps(Rwkv5, 64e-5)),
    author("RWKV-6 World (BlinkDL)", "rwkv6", with_own_eps(Rwkv6, 64e-5)),
    author("RWKV-7 World (BlinkDL)", "rwkv7", with_own_eps(Rwkv7, 8e-5)),
)
