"""The tensors that layers share, computed once per call from positions and masks.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.shared_inputs import FOURIER, SharedInputs
from archc.compiler.contract.state import State
from archc.compiler.modules.basic.fourier import token_transform
from archc.compiler.modules.position.alibi import AlibiBias
from archc.compiler.modules.position.query_scale import QueryScale
from archc.compiler.modules.position.relative_buckets import make_buckets
from archc.compiler.modules.position.rotary import BlockRotaryTables, RotaryTables
from archc.compiler.modules.position.sinusoids import Sinusoids

SINUSOIDS = "sinusoids"
"""The shared tensor that is added to the token embedding."""


def ntk_scale_name(table: str) -> str:
    """Return the name of the NTK scale that a rotary table has as a state."""
    return f"{table}.ntk_scale"


class SharedTensors(nn.Module):
    """Every distinct rotary table, ALiBi bias, bucket table, log-n factor and sinusoid of a model, by name."""

    def __init__(self, shared: SharedInputs, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.ropes: dict[str, RotaryTables] = {}
        self.block_ropes: dict[str, BlockRotaryTables] = {}
        for name, (rope, head_dim) in shared.ropes.items():
            if isinstance(rope, words.BlockRope):
                self.block_ropes[name] = BlockRotaryTables(rope, head_dim, dtype)
            else:
                self.ropes[name] = RotaryTables(rope, head_dim, dtype)
        self.alibis = {
            name: (AlibiBias(alibi, heads, dtype, both_sides=not shared.masks[mask].causal), mask)
            for name, (alibi, heads, mask) in shared.alibis.items()
        }
        self.real, self.fourier = shared.real, shared.fourier
        self.buckets = {
            name: (make_buckets(buckets.word, buckets.both_sides), buckets.mask)
            for name, buckets in shared.buckets.items()
        }
        self.sinusoids = Sinusoids(shared.sinusoids, width, dtype) if shared.sinusoids is not None else None
        self.query_scales = {name: QueryScale(word, dtype) for name, word in shared.query_scales.items()}

    def forward(
        self,
        position_ids: Tensor | None,
        masks: Mapping[str, Tensor],
        past_ntk_scales: State | None = None,
        write_indices: Tensor | None = None,
        block_position_ids: Tensor | None = None,
        input_ids: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """position_ids [B, S], block_position_ids [B, 2, S], masks [B, 1, S, T] by name → shared tensors by name.

        `input_ids` [B, S] and `lengths` [B] mark padding; without lengths, no token is padding. `past_ntk_scales` has
        the NTK scale of earlier calls by table; the new one is returned under `ntk_scale_name(table)`.
        """
        tensors: dict[str, Tensor] = {}
        for name, rope in self.ropes.items():
            ntk_scale = None
            if rope.has_ntk_state and position_ids is not None:
                past_scale = (past_ntk_scales or {}).get(name)
                ntk_scale = rope.prompt_ntk_scale(position_ids, past_scale, write_indices)
                tensors[ntk_scale_name(name)] = ntk_scale
            tensors[f"{name}.cos"], tensors[f"{name}.sin"] = rope(position_ids, ntk_scale)
        for name, block_rope in self.block_ropes.items():
            tensors[f"{name}.cos"], tensors[f"{name}.sin"] = block_rope(block_position_ids)
        for name, (alibi, mask) in self.alibis.items():
            tensors[name] = alibi(masks[mask])
        for name, (buckets, mask) in self.buckets.items():
            seq, total = masks[mask].shape[-2:]
            query = position_ids
            if buckets.both_sides:  # without a cache, queries and keys have the same positions
                query = torch.arange(seq, device=masks[mask].device)[None]
            tensors[name] = buckets(query, total)
        for name, query_scale in self.query_scales.items():
            tensors[name] = query_scale(position_ids)
        if self.real and input_ids is not None and lengths is not None:
            positions_S = torch.arange(input_ids.shape[1], device=lengths.device)
            tensors["real_tokens"] = (lengths[:, None, None] > positions_S[:, None]).float()
        if self.fourier:
            assert input_ids is not None
            assert lengths is not None
            cos, sin = token_transform(input_ids.shape[1], lengths)
            tensors[f"{FOURIER}.cos"], tensors[f"{FOURIER}.sin"] = cos, sin
        if self.sinusoids is not None:
            tensors[SINUSOIDS] = self.sinusoids(position_ids)
        return tensors
