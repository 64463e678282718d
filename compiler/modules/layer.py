"""A layer: a mixer and an MLP as two residual branches, with norms where the spec places them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import CROSS_KEY, CROSS_VALUE, State
from archc.compiler.modules.attention.attention import Attention
from archc.compiler.modules.attention.cross_attention import CrossAttention
from archc.compiler.modules.attention.latent_attention import LatentAttention
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.mlp.channel_mixing import ChannelMixing
from archc.compiler.modules.mlp.mlp import make_mlp
from archc.compiler.modules.recurrent.recurrence import make_recurrence


def make_attention(word: words.Attention, position: words.Position, width: int, dtype: torch.dtype) -> nn.Module:
    """The module of an attention word for a residual stream of the given width."""
    match word:
        case words.GroupedQueryAttention():
            return Attention(word, position, width, dtype)
        case words.LatentAttention():
            return LatentAttention(word, position, width, dtype)


class Layer(nn.Module):
    """One transformer layer; `word.norm.placement`, `word.residual` and `word.skip` say how its branches are joined."""

    def __init__(self, word: words.Layer, width: int, dtype: torch.dtype, source_width: int = 0) -> None:
        super().__init__()
        placement = getattr(word.norm, "placement", "pre")
        branches = getattr(word.norm, "branches", "both")
        self.shared = getattr(word.norm, "shared", False)

        def norm(wanted: bool) -> nn.Module:
            return make_norm(word.norm if wanted else words.NoNorm(), width, dtype)

        self.word = word
        self.after_sum = placement == "post"
        if word.attention is not None:
            self.attention = make_attention(word.attention, word.position, width, dtype)
        if word.recurrence is not None:
            self.recurrence = make_recurrence(word.recurrence, width, dtype)
        cross = word.cross_attention
        self.cross_attention = CrossAttention(cross, width, source_width, dtype) if cross is not None else None
        if isinstance(word.mlp, words.ChannelMixing):
            self.mlp: nn.Module = ChannelMixing(word.mlp, width, dtype)
        elif word.mlp is not None:
            self.mlp = make_mlp(word.mlp, width, dtype)
        # `mixer_norm`, `cross_norm` and `mlp_norm` stand before the branch, or after the sum in post-norm layers.
        self.mixer_norm = norm(placement != "output" and branches != "mlp")
        self.mlp_norm = norm(placement != "output" and branches != "mixer" and not self.shared)
        self.cross_norm = norm(cross is not None and placement != "output" and branches == "both")
        self.cross_output_norm = norm(cross is not None and placement in ("sandwich", "output") and branches == "both")
        self.mixer_output_norm = norm(placement in ("sandwich", "output") and branches != "mlp")
        self.mlp_output_norm = norm(placement in ("sandwich", "output") and branches != "mixer")

    def forward(self, x_BSN: Tensor, signals: Signals, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], and the state after it, for a state that is not empty."""
        if self.word.residual == "parallel":
            return self.parallel(x_BSN, signals, state)
        if self.after_sum:
            y, present = self.mixer(x_BSN, signals, state)
            x_BSN = self.mixer_norm(self.carried(x_BSN, x_BSN) + self.scaled(y))
            if self.cross_attention is not None:
                y = self.crossed(x_BSN, signals, state)
                x_BSN = self.cross_norm(self.carried(x_BSN, x_BSN) + self.scaled(y))
            if self.word.mlp is None:
                return x_BSN, present
            y = self.channel_branch(x_BSN, signals, state, present)
            return self.mlp_norm(self.carried(x_BSN, x_BSN) + self.scaled(y)), present
        normed = self.mixer_norm(x_BSN)
        y, present = self.mixer(normed, signals, state)
        x_BSN = self.carried(x_BSN, normed) + self.scaled(self.mixer_output_norm(y))
        if self.cross_attention is not None:
            normed = self.cross_norm(x_BSN)
            y = self.cross_output_norm(self.crossed(normed, signals, state))
            x_BSN = self.carried(x_BSN, normed) + self.scaled(y)
        if self.word.mlp is None:
            return x_BSN, present
        normed = self.mlp_norm(x_BSN)
        y = self.mlp_output_norm(self.channel_branch(normed, signals, state, present))
        return self.carried(x_BSN, normed) + self.scaled(y), present

    def crossed(self, x_BSN: Tensor, signals: Signals, state: State) -> Tensor:
        """What the layer reads of the source: [B, S, N] → [B, S, N]."""
        assert self.cross_attention is not None
        y: Tensor = self.cross_attention(x_BSN, state[CROSS_KEY], state[CROSS_VALUE], signals.source_mask_B1ST)
        return y

    def parallel(self, x_BSN: Tensor, signals: Signals, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """Both branches read the layer's input and are added at once (Wang & Komatsuzaki 2021)."""
        mixer_input = self.mixer_norm(x_BSN)
        mlp_input = mixer_input if self.shared else self.mlp_norm(x_BSN)
        y, present = self.mixer(mixer_input, signals, state)
        fed = self.channel_branch(mlp_input, signals, state, present)
        branches = self.mixer_output_norm(y) + self.mlp_output_norm(fed)
        return self.carried(x_BSN, mixer_input) + self.scaled(branches), present

    @property
    def mixer(self) -> nn.Module:
        """The layer's token mixer."""
        return self.attention if self.word.attention is not None else self.recurrence

    def channel_branch(self, x_BSN: Tensor, signals: Signals, state: State, present: dict[str, Tensor]) -> Tensor:
        """What the MLP makes of its input [B, S, N]; the state that it keeps goes to `present`."""
        if not isinstance(self.mlp, ChannelMixing):
            y: Tensor = self.mlp(x_BSN)
            return y
        y, kept = self.mlp(x_BSN, signals, state)
        present |= kept
        return y

    def carried(self, x_BSN: Tensor, normed_BSN: Tensor) -> Tensor:
        """What goes past a branch, given the stream and what the branch's norm made of it."""
        skip = self.word.skip
        source = normed_BSN if skip.source == "norm" else x_BSN
        return source if skip.scale is None else source * skip.scale

    def scaled(self, y_BSN: Tensor) -> Tensor:
        """A branch's output as it joins the stream."""
        return y_BSN if self.word.branch_scale is None else y_BSN * self.word.branch_scale
