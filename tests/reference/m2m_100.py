"""M2M-100: transformers' M2M100ForConditionalGeneration.

A padding token amid a prompt would not count as a position in this class; no text has one, but random prompts do, so
the positions are those of prompts without it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import M2M100Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.answering import Answering
from tests.reference.bart import SIZES
from tests.reference.pegasus import gains


def every_position(ids: Tensor, pad: int, before: int = 0) -> Tensor:
    """The positions of tokens none of which is padding."""
    return torch.arange(ids.shape[1]).expand(ids.shape) + before + pad + 1


def m2m_100(seed: int, **changes: Any) -> FromTransformers:
    """A tiny M2M-100 with the given differences from SIZES; its table shows the eps of norms as PEGASUS' does."""
    config = M2M100Config(**SIZES | {"activation_function": "relu"} | changes)
    scale = config.d_model**0.5 if config.scale_embedding else 1.0
    made = make("M2M100ForConditionalGeneration", config, seed, kind=Answering, gains=gains(scale))
    for stack in (made.model.model.encoder, made.model.model.decoder):
        stack.embed_positions.create_position_ids_from_input_ids = every_position
    first = made.model.model.decoder.embed_positions.weights[config.pad_token_id + 1]
    made.model.get_input_embeddings().weight.data -= first / scale
    return made


Answer = partial(Case, topology="encoder-decoder", lead=(5,), tokens=24)
CASES = (
    Answer("scaled", partial(m2m_100, 1)),
    Answer("unscaled", partial(m2m_100, 3, scale_embedding=False, pad_token_id=3, activation_function="gelu")),
)
