"""A layer: a token mixer and an MLP as two residual branches, with norms placed by the spec."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import EMBEDDED, EMBEDDING, SHORTCUT
from archc.compiler.contract.state import CROSS_KEY, CROSS_VALUE, State
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


class Layer(nn.Module):
    """One layer: x + mixer(norm(x)), then x + mlp(norm(x)), or another arrangement of branches and norms.

    `word.norm.placement`, `word.residual` and `word.skip` select it (post-norm: Vaswani et al. 2017; pre-norm:
    Xiong et al. 2020; parallel: Wang & Komatsuzaki 2021).
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
        placement = getattr(word.norm, "placement", "pre")
        mlp_placement = getattr(word.norm, "mlp_placement", None) or placement
        branches = getattr(word.norm, "branches", "both")
        self.shared = getattr(word.norm, "shared", False)

        def norm(is_present: bool, eps: float | None = None) -> nn.Module:
            norm_word = word.norm if eps is None else word.norm.model_copy(update={"eps": eps})
            return make_norm(norm_word if is_present else words.NoNorm(), width, dtype)

        output_eps = getattr(word.norm, "output_eps", None)
        is_output = placement in ("sandwich", "output")

        self.word = word
        self.after_sum = placement == "post"
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
        # `mixer_norm`, `cross_norm` and `mlp_norm` are before the branch, in post-norm layers after the sum.
        gate = getattr(word.norm, "gate", None)

        def gated(norm: nn.Module, is_gated: bool) -> nn.Module:
            return GatedNorm(norm, gate, width, dtype) if gate is not None and is_gated else norm

        self.mixer_norm = gated(norm(placement != "output" and branches != "mlp"), branches != "mlp")
        has_mlp_norm = mlp_placement != "output" and branches != "mixer" and not self.shared
        self.mlp_norm = gated(norm(has_mlp_norm), has_mlp_norm and gate is not None and gate.branches == "both")
        self.cross_norm = norm(cross is not None and placement != "output" and branches == "both")
        self.cross_output_norm = norm(cross is not None and is_output and branches == "both", output_eps)
        self.mixer_output_norm = norm(is_output and branches != "mlp", output_eps)
        self.mlp_output_norm = norm(mlp_placement in ("sandwich", "output") and branches != "mixer", output_eps)
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
            x_BSN, present = self.branches(x_BSN, inputs, state)
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
        y_BSN, present = self.branches(active_BSN, inputs, state)
        corrected_BSCN = streams.correct(predicted_BSCN, y_BSN)
        if self.embedding_branch is not None:
            branch_BSN = self.embedding_branch(streams.active(corrected_BSCN), inputs.cross_layer[EMBEDDING])
            others_BSCN = corrected_BSCN[:, :, 1:] + branch_BSN[:, :, None]
            corrected_BSCN = torch.cat((corrected_BSCN[:, :, :1], others_BSCN), dim=2)
        return corrected_BSCN.flatten(-2), present

    def branches(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the stream after mixer and MLP, [B, S, N], or all hyper-connected streams, and the new state."""
        if isinstance(self.word.streams, words.HyperConnections | words.GatedStreams):
            return self.hyper_connected(x_BSN, inputs, state)
        if self.word.residual == "parallel":
            return self.parallel(x_BSN, inputs, state)
        if self.after_sum:
            return self.post_norm(x_BSN, inputs, state)
        present: dict[str, Tensor] = {}
        if self.front is not None:
            return self.behind_front(self.front, x_BSN, inputs, state)
        if self.mixers:
            normed = self.mixer_norm(x_BSN)
            y, present = self.mix(normed, inputs, state)
            x_BSN = self.skip(x_BSN, normed) + self.scale_branch(self.mixer_output_norm(y))
            x_BSN = x_BSN if self.laurel is None else self.laurel(x_BSN, normed)
        if self.cross_attention is not None:
            normed = self.cross_norm(x_BSN)
            y = self.cross_output_norm(self.attend_to_source(normed, inputs, state))
            x_BSN = self.skip(x_BSN, normed) + self.scale_branch(y)
        if self.word.mlp is None:
            return x_BSN, present
        normed = self.mlp_norm(x_BSN)
        y = self.mlp_output_norm(self.mlp_branch(normed, x_BSN, inputs, state, present))
        if self.shortcut is not None:
            present[SHORTCUT] = self.shortcut(normed, x_BSN, inputs.input_ids_BS)
        x_BSN = self.skip(x_BSN, normed, is_mlp=True) + self.scale_branch(y, is_mlp=True)
        return x_BSN + inputs.cross_layer[SHORTCUT] if self.word.adds_shortcut else x_BSN, present

    def behind_front(
        self, front: Front, x_BSN: Tensor, inputs: LayerInputs, state: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """x + recurrence(norm(x + W mlp(norm(attention(norm([x, e])))))): [B, S, N] → [B, S, N], and the new state."""
        y, attended = self.attention(front.enter(x_BSN, inputs.cross_layer[EMBEDDED]), inputs, state)
        y = self.mlp(self.mlp_norm(y))
        y, present = self.recurrence(self.mixer_norm(front.leave(x_BSN, y)), inputs, state)
        return self.skip(x_BSN, x_BSN) + self.scale_branch(y), attended | present

    def hyper_connected(self, x_BSM: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """Return all streams after branches that each read a sum of them, [B, S, M], and the new state."""
        present: dict[str, Tensor] = {}
        if self.mixer_streams is not None:
            input_BSN, weights = self.mixer_streams.read(x_BSM)
            y, present = self.mix(self.mixer_norm(input_BSN), inputs, state)
            x_BSM = self.mixer_streams.write(x_BSM, self.scale_branch(self.mixer_output_norm(y)), weights)
        if self.mlp_streams is not None:
            input_BSN, weights = self.mlp_streams.read(x_BSM)
            y = self.mlp_output_norm(self.mlp_branch(self.mlp_norm(input_BSN), input_BSN, inputs, state, present))
            x_BSM = self.mlp_streams.write(x_BSM, self.scale_branch(y, is_mlp=True), weights)
        return x_BSM, present

    def post_norm(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """norm(x + branch(x)) for each branch (Vaswani et al. 2017): [B, S, N] → [B, S, N], and the new state."""
        present: dict[str, Tensor] = {}
        if self.mixers:
            y, present = self.mix(x_BSN, inputs, state)
            x_BSN = self.mixer_norm(self.skip(x_BSN, x_BSN) + self.scale_branch(y))
        if self.cross_attention is not None:
            y = self.attend_to_source(x_BSN, inputs, state)
            x_BSN = self.cross_norm(self.skip(x_BSN, x_BSN) + self.scale_branch(y))
        if self.word.mlp is None:
            return x_BSN, present
        y = self.mlp_branch(x_BSN, x_BSN, inputs, state, present)
        y = self.scale_branch(y, is_mlp=True)
        x_BSN = self.mlp_norm(self.skip(x_BSN, x_BSN, is_mlp=True) + y)
        return x_BSN if self.adapter is None else self.mlp_norm(x_BSN + self.adapter(x_BSN)), present

    def parallel(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """x + mixer(norm(x)) + mlp(norm(x)) (Wang & Komatsuzaki 2021): [B, S, N] → [B, S, N], and the new state."""
        mixer_input = self.mixer_norm(x_BSN)
        mlp_input = mixer_input if self.shared else self.mlp_norm(x_BSN)
        y, present = self.mix(mixer_input, inputs, state)
        mlp_output = self.mlp_branch(mlp_input, x_BSN, inputs, state, present)
        branches = self.mixer_output_norm(y) + self.mlp_output_norm(mlp_output)
        return self.skip(x_BSN, mixer_input) + self.scale_branch(branches), present

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

    def skip(self, x_BSN: Tensor, normed_BSN: Tensor, is_mlp: bool = False) -> Tensor:
        """Return the tensor that a branch is added to: the stream or the branch's normed input, scaled."""
        word = self.word.skip
        source = normed_BSN if word.source == "norm" else x_BSN
        scale = word.mlp_scale if is_mlp and word.mlp_scale is not None else word.scale
        return source if scale is None else source * scale

    def scale_branch(self, y_BSN: Tensor, is_mlp: bool = False) -> Tensor:
        """Return a branch's output times its scale."""
        own = self.word.mlp_branch_scale
        scale = own if is_mlp and own is not None else self.word.branch_scale
        return y_BSN if scale is None else y_BSN * scale
