"""References that answer a source: encoder-decoder classes of transformers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import ModelOutput

from archc.proof.case import Ids, Outputs
from archc.proof.from_transformers import FromTransformers
from archc.proof.random_weights import normal


class Answering(FromTransformers):
    """A conditional generation class of transformers, on random weights."""

    encoded: type[ModelOutput] = BaseModelOutput

    @property
    def parameters(self) -> int:
        """The class's own count, and the bias on the logits, which is none of its parameters."""
        biases = (value.numel() for name, value in self.model.named_buffers() if name == "final_logits_bias")
        return super().parameters + sum(biases)

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None, source: Ids | None = None) -> Outputs:
        """One call of the class, without a cache."""
        assert token_type_ids is None
        with torch.no_grad():
            result = self.model(input_ids=torch.tensor(source), decoder_input_ids=torch.tensor(ids), use_cache=False)
        return {"logits": result.logits.numpy(), "hidden_states": result.encoder_last_hidden_state.numpy()}

    def in_steps(
        self, ids: Sequence[int], sizes: Sequence[int], source: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Calls of the class with its own cache, over a source that is read once."""
        assert source is not None
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        parts = torch.tensor([list(ids)]).split(list(sizes), dim=1)
        with torch.no_grad():
            hidden = self.model.get_encoder()(torch.tensor([list(source)])).last_hidden_state
            logits = [
                self.model(
                    encoder_outputs=self.encoded(last_hidden_state=hidden),
                    decoder_input_ids=part,
                    past_key_values=cache,
                    use_cache=True,
                ).logits[0]
                for part in parts
            ]
        return torch.cat(logits).numpy()


def with_logits_bias(reference: FromTransformers, seed: int, gain: float) -> FromTransformers:
    """The reference with numbers in the bias that its class begins with as zeros."""
    bias = reference.model.get_buffer("final_logits_bias")
    bias.copy_(gain * normal("final_logits_bias", tuple(bias.shape), seed))
    return reference
