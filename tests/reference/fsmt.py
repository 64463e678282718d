"""FSMT: transformers' FSMTForConditionalGeneration.

A padding token amid a prompt would be masked, and not count as a position; no text has one, but random prompts do, so
the class does not know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import FSMTConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.answering import Answering
from tests.reference.bart import SIZES as BART_SIZES
from tests.reference.m2m_100 import every_position
from tests.reference.marian import SMALL

SIZES: dict[str, Any] = {key: value for key, value in BART_SIZES.items() if key != "vocab_size"} | {
    "src_vocab_size": 97,
    "tgt_vocab_size": 89,
    "num_beams": 1,
}


class TokenByToken(Answering):
    """The class, whose cached calls have no causal mask and so one token each."""

    def in_steps(
        self, ids: Sequence[int], sizes: Sequence[int], source: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Calls of one token, whatever the sizes."""
        assert sum(sizes) == len(ids)
        return super().in_steps(ids, [1] * len(ids), source)


def fsmt(seed: int, **changes: Any) -> FromTransformers:
    """A tiny FSMT with the given differences from SIZES."""
    config = FSMTConfig(**SIZES | changes)
    pad = config.pad_token_id
    made = make(
        "FSMTForConditionalGeneration",
        config,
        seed,
        kind=TokenByToken,
        attention="eager",
        gains={**SMALL, "output_projection.weight": 1.0},
        outside=["embed_positions"],
        respell=lambda stored: stored | {"pad_token_id": pad},
    )
    made.model.config.pad_token_id = SIZES["src_vocab_size"]
    for stack in (made.model.model.encoder, made.model.model.decoder):
        table = stack.embed_positions
        table.make_weight(table.num_embeddings, table.embedding_dim, pad)
        table.make_positions = every_position
    return made


Answer = partial(Case, topology="encoder-decoder", lead=(5,))
CASES = (
    Answer("base", partial(fsmt, 1)),
    Answer("padding", partial(fsmt, 2, pad_token_id=3, activation_function="gelu")),
)
