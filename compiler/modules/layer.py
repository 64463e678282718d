"""A layer: a token mixer and an MLP as residual branches, with norms placed by the spec."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.archspec.vocabulary.layer_norms import (
    CROSS,
    CROSS_OUTPUT,
    MIXER,
    MIXER_OUTPUT,
    MLP,
    MLP_OUTPUT,
    NORMS,
    layer_norms,
    norm_gate,
)
from archc.compiler.contract.cross_layer import EMBEDDING
from archc.compiler.contract.state import CROSS_KEY, CROSS_VALUE, State
from archc.compiler.modules.arrangements import arrangement
from archc.compiler.modules.attention.attention import Attention
from archc.compiler.modules.attention.cross_attention import CrossAttention
from archc.compiler.modules.attention.latent_attention import LatentAttention
from archc.compiler.modules.basic.convolution import ConvolutionBranch
from archc.compiler.modules.basic.front import Front
from archc.compiler.modules.basic.gated_streams import GatedStreams
from archc.compiler.modules.basic.hyper_connections import HyperConnection
from archc.compiler.modules.basic.laurel import Laurel
from archc.compiler.modules.basic.mixing import make_mixing
from archc.compiler.modules.basic.norm import GatedNorm, make_norm
from archc.compiler.modules.basic.per_layer import EmbeddingBranch
from archc.compiler.modules.basic.streams import AlternatingUpdates
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.memory.ngram_memory import NgramMemory
from archc.compiler.modules.mlp.channel_mixing import ChannelMixing
from archc.compiler.modules.mlp.mlp import MoeMlp, make_mlp
from archc.compiler.modules.recurrent.recurrence import make_recurrence


def make_attention(
    word: words.Attention, position: words.Position, width: int, dtype: torch.dtype, inputs: int
) -> nn.Module:
    """Return the module of an attention word for a residual stream and an input of those widths."""
    match word:
        case words.GroupedQueryAttention():
            return Attention(word, position, width, dtype, inputs)
        case words.LatentAttention():
            return LatentAttention(word, position, width, dtype)


def make_connection(
    word: words.Streams | None, width: int, dtype: torch.dtype
) -> HyperConnection | GatedStreams | None:
    """Return the residual connection of one branch, which reads several streams; None for other streams."""
    match word:
        case words.HyperConnections():
            return HyperConnection(word, width)
        case words.GatedStreams():
            return GatedStreams(word, width, dtype)
    return None


def make_layer_norms(word: words.Layer, width: int, dtype: torch.dtype) -> dict[str, nn.Module]:
    """Return the norms of a layer by name, each with its gate; the identity for those that it does not have."""
    present, norms = layer_norms(word), dict[str, nn.Module]()
    for name in NORMS:
        norm, gate = make_norm(present.get(name, words.NoNorm()), width, dtype), norm_gate(word, name)
        norms[name] = norm if gate is None else GatedNorm(norm, gate, width, dtype)
    return norms


class Layer(nn.Module):
    """One layer: x + mixer(norm(x)), then x + mlp(norm(x)), or another of `archc.compiler.modules.arrangements`.

    Norms that the word lacks are the identity.
    """

    def __init__(
        self,
        word: words.Layer,
        width: int,
        dtype: torch.dtype,
        source_width: int = 0,
        vector_width: int = 0,
        vocab: int = 0,
    ) -> None:
        super().__init__()
        self.word = word
        self.arrange = arrangement(word)
        if word.attention is not None:
            inputs = width if word.front is None else 2 * width
            self.attention = make_attention(word.attention, word.position, width, dtype, inputs)
        if word.recurrence is not None:
            self.recurrence = make_recurrence(word.recurrence, width, dtype)
        self.mixing = make_mixing(word.mixing, width, dtype) if word.mixing is not None else None
        cross = word.cross_attention
        self.cross_attention = CrossAttention(cross, width, source_width, dtype) if cross is not None else None
        if isinstance(word.mlp, words.ChannelMixing):
            self.mlp: nn.Module = ChannelMixing(word.mlp, width, dtype)
        elif word.mlp is not None:
            self.mlp = make_mlp(word.mlp, width, dtype, vocab)
        self.shortcut = MoeMlp(word.shortcut, width, dtype, vocab) if word.shortcut is not None else None
        norms = make_layer_norms(word, width, dtype)
        self.mixer_norm, self.mixer_output_norm = norms[MIXER], norms[MIXER_OUTPUT]
        self.cross_norm, self.cross_output_norm = norms[CROSS], norms[CROSS_OUTPUT]
        self.mlp_norm, self.mlp_output_norm = norms[MLP], norms[MLP_OUTPUT]
        self.front = Front(word.norm, width, dtype) if word.front is not None else None
        branch = word.embedding_branch
        self.embedding_branch = EmbeddingBranch(branch, vector_width, width, dtype) if branch is not None else None
        self.adapter = make_mlp(word.adapter, width, dtype) if word.adapter is not None else None
        convolution = word.convolution
        self.convolution = ConvolutionBranch(convolution, width, dtype) if convolution is not None else None
        self.laurel = Laurel(word.laurel, width, dtype) if word.laurel is not None else None
        streams = word.streams
        self.streams = AlternatingUpdates(streams, width, dtype) if isinstance(streams, words.AltUp) else None
        self.mixer_streams = make_connection(streams, width, dtype) if self.mixers else None
        self.mlp_streams = make_connection(streams, width, dtype) if word.mlp is not None else None
        memory, count = word.ngram_memory, word.stream_count
        self.ngram_memory = NgramMemory(memory, vocab, count, width, dtype) if memory is not None else None
        self.mixer_skip, self.mlp_skip = (
            nn.Parameter(torch.empty(width, dtype=dtype)) if word.skip.learned and is_present else None
            for is_present in (bool(self.mixers), word.mlp is not None)
        )
        self.output_scale = nn.Parameter(torch.empty(1, dtype=dtype)) if word.output_scale else None

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N], or all streams joined → the same, and the new state with tensors for later layers."""
        remembered: dict[str, Tensor] = {}
        if self.ngram_memory is not None:
            y_BSN, remembered = self.ngram_memory(x_BSN, inputs, state)
            x_BSN = x_BSN + y_BSN
        if self.streams is not None:
            x_BSN, present = self.update_streams(self.streams, x_BSN, inputs, state)
        else:
            input_BSN = x_BSN
            x_BSN, present = self.arrange(self, x_BSN, inputs, state)
            if self.convolution is not None:
                x_BSN = self.convolution(input_BSN, x_BSN, inputs.real_BS1)
            if self.embedding_branch is not None:
                x_BSN = x_BSN + self.embedding_branch(x_BSN, inputs.cross_layer[EMBEDDING])
        return x_BSN if self.output_scale is None else x_BSN * self.output_scale, present | remembered

    def update_streams(
        self, streams: AlternatingUpdates, x_BSM: Tensor, inputs: LayerInputs, state: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return all streams after the layer, joined, and the new state."""
        predicted_BSCN, active_BSN = streams.predict(x_BSM)
        y_BSN, present = self.arrange(self, active_BSN, inputs, state)
        corrected_BSCN = streams.correct(predicted_BSCN, y_BSN)
        if self.embedding_branch is not None:
            branch_BSN = self.embedding_branch(streams.active(corrected_BSCN), inputs.cross_layer[EMBEDDING])
            others_BSCN = corrected_BSCN[:, :, 1:] + branch_BSN[:, :, None]
            corrected_BSCN = torch.cat((corrected_BSCN[:, :, :1], others_BSCN), dim=2)
        return corrected_BSCN.flatten(-2), present

    @property
    def mixers(self) -> list[nn.Module]:
        """The mixers: one without a state, attention, a recurrence or the last two; none with an MLP alone."""
        names = ("mixing", "attention", "recurrence")
        return [getattr(self, name) for name in names if getattr(self.word, name) is not None]

    def mix(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the mixers' outputs, [B, S, N], and their new state."""
        (y_BSN, present), *others = [mixer(x_BSN, inputs, state) for mixer in self.mixers]
        for output_BSN, new in others:
            y_BSN, present = y_BSN + output_BSN, present | new
        return y_BSN, present

    def attend_to_source(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> Tensor:
        """Return the output of cross-attention, [B, S, N]."""
        assert self.cross_attention is not None
        y: Tensor = self.cross_attention(x_BSN, state[CROSS_KEY], state[CROSS_VALUE], inputs.source_mask_B1ST)
        return y

    def mlp_branch(
        self, x_BSN: Tensor, stream_BSN: Tensor, inputs: LayerInputs, state: State, present: dict[str, Tensor]
    ) -> Tensor:
        """Return the output of the MLP of the stream's norm x, [B, S, N]; its new state is added to `present`."""
        if isinstance(self.mlp, MoeMlp):
            output: Tensor = self.mlp(x_BSN, stream_BSN, inputs.input_ids_BS)
            return output
        if not isinstance(self.mlp, ChannelMixing):
            y: Tensor = self.mlp(x_BSN)
            return y
        y, mlp_state = self.mlp(x_BSN, inputs, state)
        present |= mlp_state
        return y

    def add(self, x_BSN: Tensor, normed_BSN: Tensor, y_BSN: Tensor, is_mlp: bool = False) -> Tensor:
        """Return the stream, or the branch's normed input, times its scale, plus the branch's scaled output."""
        skip = self.word.skip
        source = normed_BSN if skip.source == "norm" else x_BSN
        scale = skip.mlp_scale if is_mlp and skip.mlp_scale is not None else skip.scale
        learned = self.mlp_skip if is_mlp else self.mixer_skip
        source = source if learned is None else source * learned
        return (source if scale is None else source * scale) + self.scale_branch(y_BSN, is_mlp)

    def scale_branch(self, y_BSN: Tensor, is_mlp: bool = False) -> Tensor:
        """Return a branch's output times its scale."""
        own = self.word.mlp_branch_scale
        scale = own if is_mlp and own is not None else self.word.branch_scale
        return y_BSN if scale is None else y_BSN * scale
