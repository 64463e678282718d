"""The Transformer of 2017: torch.nn.Transformer between embeddings and a generator, named as in PyTorch's tutorial."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from archc.proof.case import Case, Ids, Outputs
from archc.proof.random_weights import spread

SIZES: dict[str, Any] = {
    "model_type": "transformer",
    "src_vocab_size": 97,
    "tgt_vocab_size": 89,
    "d_model": 36,
    "nhead": 4,
    "num_encoder_layers": 2,
    "num_decoder_layers": 3,
    "dim_feedforward": 44,
    "activation": "relu",
    "layer_norm_eps": 1e-1,
    "norm_first": False,
    "max_len": 48,
    "decoder_start_token_id": 5,
}
GAINS = {
    "linear2.weight": 3.0,
    "out_proj.weight": 0.2,
    "bias": 0.3,
    "generator.weight": 0.5,
    "tgt_tok_emb.embedding.weight": 2.0,
}
_OPTIONS = (
    "d_model",
    "nhead",
    "num_encoder_layers",
    "num_decoder_layers",
    "dim_feedforward",
    "activation",
    "layer_norm_eps",
    "norm_first",
    "bias",
)


class Tokens(nn.Module):
    """A token table whose rows are multiplied by the square root of their width."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [B, S] → [B, S, width], the sinusoids of their places added (Vaswani et al. 2017, section 3.5)."""
        width = self.embedding.embedding_dim
        x: Tensor = self.embedding(ids) * math.sqrt(width)
        for place in range(ids.shape[1]):
            for pair in range(width // 2):
                angle = place / 10000 ** (2 * pair / width)
                x[:, place, 2 * pair] += math.sin(angle)
                x[:, place, 2 * pair + 1] += math.cos(angle)
        return x


class Translator(nn.Module):
    """The model that the tutorial trains."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.transformer = nn.Transformer(
            **{name: config[name] for name in _OPTIONS if name in config}, dropout=0.0, batch_first=True
        )
        if not config.get("final_norm", True):
            self.transformer.encoder.norm = self.transformer.decoder.norm = None
        width = config["d_model"]
        self.tgt_tok_emb = Tokens(config["tgt_vocab_size"], width)
        shared = config.get("share_embeddings", False)
        self.src_tok_emb = self.tgt_tok_emb if shared else Tokens(config["src_vocab_size"], width)
        self.generator = nn.Linear(width, config["tgt_vocab_size"], bias=config.get("generator_bias", True))
        if config.get("tie_generator", shared):
            self.generator.weight = self.tgt_tok_emb.embedding.weight

    def forward(self, source: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [B, T] and [B, S] → the encoder's output, and logits [B, S, vocab]."""
        memory = self.encode(source)
        return memory, self.decode(memory, ids)

    def encode(self, source: Tensor) -> Tensor:
        """int64 [B, T] → [B, T, width]."""
        memory: Tensor = self.transformer.encoder(self.src_tok_emb(source))
        return memory

    def decode(self, memory: Tensor, ids: Tensor) -> Tensor:
        """The encoder's output and int64 [B, S] → logits [B, S, vocab]."""
        future = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
        logits: Tensor = self.generator(self.transformer.decoder(self.tgt_tok_emb(ids), memory, tgt_mask=future))
        return logits


class Encoder(nn.Module):
    """The encoder of a translator, as `generate` of transformers calls it."""

    main_input_name = "input_ids"

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutput:
        """int64 [B, T] → [B, T, width]; a row has no padding."""
        return BaseModelOutput(last_hidden_state=self.translator.encode(input_ids))


class Generating(PreTrainedModel, GenerationMixin):
    """A translator with the method `generate` of transformers, without a cache."""

    main_input_name = "input_ids"

    def __init__(self, translator: Translator) -> None:
        super().__init__(PreTrainedConfig(is_encoder_decoder=True))
        self.translator, self.encoder = translator, Encoder(translator)

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def get_encoder(self, modality: str | None = None) -> Encoder:
        """The encoder, which `generate` calls once."""
        return self.encoder

    def prepare_inputs_for_generation(self, input_ids: Tensor, **others: Any) -> dict[str, Any]:
        """The decoder's tokens so far, and the encoder's output."""
        return {"decoder_input_ids": input_ids, "encoder_outputs": others["encoder_outputs"]}

    def forward(self, decoder_input_ids: Tensor, encoder_outputs: BaseModelOutput, **_: Any) -> Seq2SeqLMOutput:
        """The encoder's output and int64 [B, S] → logits [B, S, vocab]."""
        memory = encoder_outputs.last_hidden_state
        assert memory is not None
        return Seq2SeqLMOutput(logits=self.translator.decode(memory, decoder_input_ids))


class ByTorch:
    """The tutorial's model on random weights."""

    def __init__(self, seed: int, **changes: Any) -> None:
        self.config = SIZES | changes
        self.model = Translator(self.config)
        spread(self.model, seed)
        # A mixer that sees mostly the same source must not drown what the last token says.
        for name, parameter in self.model.named_parameters():
            gain = next((gain for end, gain in GAINS.items() if name.endswith(end)), 1.0)
            parameter.data.mul_(gain)
        self.model.eval()

    @property
    def provenance(self) -> str:
        """The class and the version of torch."""
        return f"torch {torch.__version__} nn.Transformer"

    @property
    def parameters(self) -> int:
        """The module's own count."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def save(self, folder: Path) -> None:
        """The module's parameters, each once, and the sinusoids' buffer, which nothing reads."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config), "utf-8")
        tensors = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        tensors["positional_encoding.pos_embedding"] = torch.zeros(self.config["max_len"], 1, self.config["d_model"])
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    def outputs(self, ids: Ids, token_type_ids: Ids | None = None, source: Ids | None = None) -> Outputs:
        """One call of the module."""
        assert token_type_ids is None
        with torch.no_grad():
            memory, logits = self.model(torch.tensor(source), torch.tensor(ids))
        return {"logits": logits.numpy(), "hidden_states": memory.numpy()}

    def in_steps(
        self, ids: Sequence[int], sizes: Sequence[int], source: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Logits of one row; the module has no cache, so how it is cut makes no difference."""
        assert sum(sizes) == len(ids)
        assert source is not None
        logits: NDArray[np.float32] = self.outputs([ids], source=[source])["logits"][0]
        return logits


Answer = partial(Case, topology="encoder-decoder", lead=(5,))
PAPER = {"share_embeddings": True, "tgt_vocab_size": 97, "generator_bias": False, "final_norm": False}

CASES = (
    Answer("tutorial", partial(ByTorch, 1)),
    Answer("paper", partial(ByTorch, 7, **PAPER)),
    Answer("norm-first-no-bias", partial(ByTorch, 3, norm_first=True, bias=False, activation="gelu")),
)
