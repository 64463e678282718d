"""The torch model of a bound spec: what is traced part by part, and what runs whole in torch to debug a family.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import given
from archc.compiler.contract.shared_inputs import SOURCE_MASK, Wire, Wiring, wire
from archc.compiler.contract.state import CROSS_KEY, CROSS_VALUE, State
from archc.compiler.modules.attention.relative_bias import BiasTable, RelativeBuckets
from archc.compiler.modules.basic.embedding import Embedding, Table
from archc.compiler.modules.basic.head import FirstTokenPooler, make_head
from archc.compiler.modules.basic.norm import LayerNorm, PerHead, RmsNorm, make_norm
from archc.compiler.modules.layer import Layer
from archc.compiler.modules.layer_inputs import Signals
from archc.compiler.modules.position import AlibiBias, BlockRotaryTables, LognFactor, RotaryTables, Sinusoids
from archc.compiler.ops import operators as ops


@dataclass
class Outputs:
    """What one call gives; the parts that the spec does not have, or that were not asked for, are None."""

    hidden_states: Tensor
    logits: Tensor | None = None
    pooled: Tensor | None = None
    present: list[dict[str, Tensor]] = field(default_factory=list)
    stretches: dict[str, Tensor] = field(default_factory=dict)


class SignalTables(nn.Module):
    """Every shared tensor that is computed from positions and masks, by name."""

    def __init__(self, wiring: Wiring, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.ropes: dict[str, RotaryTables] = {}
        self.block_ropes: dict[str, BlockRotaryTables] = {}
        for name, (rope, head_dim) in wiring.ropes.items():
            if isinstance(rope, words.BlockRope):
                self.block_ropes[name] = BlockRotaryTables(rope, head_dim, dtype)
            else:
                self.ropes[name] = RotaryTables(rope, head_dim, dtype)
        self.alibis = {
            name: (AlibiBias(alibi, heads, dtype), mask) for name, (alibi, heads, mask) in wiring.alibis.items()
        }
        self.real = wiring.real
        self.buckets = {
            name: (RelativeBuckets(buckets.word, buckets.both_sides), buckets.mask)
            for name, buckets in wiring.buckets.items()
        }
        self.sinusoids = Sinusoids(wiring.sinusoids, width, dtype) if wiring.sinusoids is not None else None
        self.logns = {name: LognFactor(trained, dtype) for name, trained in wiring.logns.items()}

    def forward(
        self,
        position_ids: Tensor | None,
        masks: Mapping[str, Tensor],
        stretches: State | None = None,
        write_indices: Tensor | None = None,
        block_position_ids: Tensor | None = None,
        input_ids: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """position_ids [B, S], block_position_ids [B, 2, S] and masks [B, 1, S, T] by name → tables by name.

        `input_ids` [B, S] and `lengths` [B] tell which tokens are real; without lengths, all are.

        `stretches` are those of the calls before, by table; the new ones come back as `{table}.stretch`.
        """
        tables: dict[str, Tensor] = {}
        for name, rope in self.ropes.items():
            stretch = None
            if rope.keeps_stretch and position_ids is not None:
                stretch = rope.prompt_stretch(position_ids, (stretches or {}).get(name), write_indices)
                tables[stretch_name(name)] = stretch
            tables[f"{name}.cos"], tables[f"{name}.sin"] = rope(position_ids, stretch)
        for name, block_rope in self.block_ropes.items():
            tables[f"{name}.cos"], tables[f"{name}.sin"] = block_rope(block_position_ids)
        for name, (alibi, mask) in self.alibis.items():
            tables[name] = alibi(masks[mask])
        for name, (buckets, mask) in self.buckets.items():
            seq, total = masks[mask].shape[-2:]
            query = position_ids
            if buckets.both_sides:  # without a cache the queries' places are the keys'
                query = torch.arange(seq, device=masks[mask].device)[None]
            tables[name] = buckets(query, total)
        for name, logn in self.logns.items():
            tables[name] = logn(position_ids)
        if self.real and input_ids is not None and lengths is not None:
            places_S = torch.arange(input_ids.shape[1], device=lengths.device)
            tables["real_tokens"] = (lengths[:, None, None] > places_S[:, None]).float()
        if self.sinusoids is not None:
            tables[SINUSOIDS] = self.sinusoids(position_ids)
        return tables


SINUSOIDS = "sinusoids"
"""The shared tensor that is added to the token embedding."""


def stretch_name(table: str) -> str:
    """The name of what a rotary table keeps between calls."""
    return f"{table}.stretch"


def signals_of(wire: Wire, tensors: Mapping[str, Tensor], flows: Mapping[str, Tensor]) -> Signals:
    """A layer's signals, picked by its wire out of all shared tensors, and what earlier layers gave."""
    return Signals(
        mask_B1ST=tensors[wire.mask] if wire.mask else None,
        real_BS1=tensors.get(wire.real) if wire.real else None,
        given=flows,
        write_indices_B=tensors.get("write_indices"),
        lengths_B=tensors.get("lengths"),
        cos_BSR=tensors[f"{wire.rope}.cos"] if wire.rope else None,
        sin_BSR=tensors[f"{wire.rope}.sin"] if wire.rope else None,
        bias_BHST=tensors[bias] if (bias := wire.alibi or wire.relative_bias) else None,
        logn_B1S1=tensors[wire.logn] if wire.logn else None,
        buckets_BST=tensors[wire.buckets] if wire.buckets else None,
        source_mask_B1ST=tensors[SOURCE_MASK] if wire.crosses else None,
    )


class Model(nn.Module):
    """A whole architecture; parameter names are archc's tensor names.

    An encoder-decoder's `encoder` is a model of its own; `tokens` is the table that it shares.
    """

    def __init__(self, spec: BoundSpec, dtype: torch.dtype = torch.float32, tokens: Table | None = None) -> None:
        super().__init__()
        self.spec, self.dtype, self.wiring = spec, dtype, wire(spec)
        width = spec.embedding.width
        self.signals = SignalTables(self.wiring, width, dtype)
        self.embedding = Embedding(spec.embedding, learned_positions(spec), dtype, tokens)
        self.encoder: Model | None = None
        if spec.encoder is not None:
            self.encoder = Model(spec.encoder, dtype, self.embedding.tokens if spec.ties_encoder else None)
        biases = [(self.wiring.buckets[name].word, heads) for name, heads in self.wiring.relative_biases.values()]
        self.relative_bias = BiasTable(biases[0][0].buckets, biases[0][1], dtype) if biases else None
        source_width = spec.encoder.embedding.width if spec.encoder is not None else 0
        # Layers of one set of weights are one module.
        numbered = zip(spec.weight_sets, spec.layers, strict=True)
        sets = {number: Layer(layer, width, dtype, source_width) for number, layer in numbered}
        self.layers = nn.ModuleList(sets[number] for number in spec.weight_sets)
        self.final_norm = make_norm(spec.final_norm, width, dtype)
        self.head = make_head(spec.head, spec.embedding, self.embedding.tokens.weight, dtype)
        pooled = isinstance(spec.pooler, words.FirstTokenPooler)
        self.pooler = FirstTokenPooler(width, dtype) if pooled else None

    @property
    def cached(self) -> bool:
        """Whether layers keep keys and values between calls."""
        return self.spec.topology != "encoder"

    def zero_centred_norms(self) -> set[str]:
        """Norm weights that are stored as a difference from one."""
        return {
            f"{name}.weight"
            for name, module in self.named_modules()
            if isinstance(module, RmsNorm | LayerNorm | PerHead) and module.word.unit_offset
        }

    def embed(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None,
        token_type_ids: Tensor | None,
        sinusoids: Tensor | None = None,
    ) -> Tensor:
        """int64 [B, S] each, and what is added to the tokens → [B, S, width]."""
        x: Tensor = self.embedding(input_ids, position_ids, token_type_ids, sinusoids)
        return x

    def score_biases(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the layers' shared table gives for buckets [B, S, T]: biases [B, H, S, T] by name."""
        assert self.relative_bias is not None or not self.wiring.relative_biases
        found = self.wiring.relative_biases.items()
        return {name: self.relative_bias(tensors[buckets]) for name, (buckets, _) in found}  # type: ignore[misc]

    def crossed(self, hidden_BTN: Tensor) -> list[dict[str, Tensor]]:
        """The keys and values [B, K, T, D] that each layer makes of the encoder's output [B, T, width]."""
        pairs = [layer.cross_attention.keys_values(hidden_BTN) for layer in self.layers]  # type: ignore[union-attr, operator]
        return [{CROSS_KEY: key, CROSS_VALUE: value} for key, value in pairs]

    def end(self, x_BSN: Tensor, logit_positions_BP: Tensor | None) -> Outputs:
        """The last layer's output [B, S, width] → hidden states, logits at the positions [B, P], pooled vector."""
        hidden = self.final_norm(x_BSN)
        outputs = Outputs(hidden)
        if self.head is not None and logit_positions_BP is not None:
            outputs.logits = self.head(ops.take_positions(hidden, logit_positions_BP))
        if self.pooler is not None:
            outputs.pooled = self.pooler(hidden)
        return outputs

    def forward(
        self,
        input_ids: Tensor,
        masks: Mapping[str, Tensor],
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        logit_positions: Tensor | None = None,
        states: Sequence[State] | None = None,
        write_indices: Tensor | None = None,
        lengths: Tensor | None = None,
        stretches: State | None = None,
        block_position_ids: Tensor | None = None,
    ) -> Outputs:
        """One call in torch, of the same meaning as the exported graph: int64 [B, S] inputs, bool masks [B, 1, S, T].

        With `states`, one for each layer, `write_indices` and `lengths` are int64 [B]. An encoder-decoder's states have
        at least what `crossed` gives, and its masks one of the source.
        """
        tensors = {
            **masks,
            **self.signals(position_ids, masks, stretches, write_indices, block_position_ids, input_ids, lengths),
        }
        rows = {"write_indices": write_indices, "lengths": lengths}
        tensors |= {name: value for name, value in rows.items() if value is not None}
        tensors |= self.score_biases(tensors)
        x = self.embed(input_ids, position_ids, token_type_ids, tensors.get(SINUSOIDS))
        present, flows = [], dict[str, Tensor]()
        for index, (layer, layer_wire) in enumerate(zip(self.layers, self.wiring.wires, strict=True)):
            x, new = layer(x, signals_of(layer_wire, tensors, flows), states[index] if states else {})
            flows |= {name: new.pop(name) for name in given(self.spec.layers[index], self.dtype)}
            present.append(new)
        outputs = self.end(x, logit_positions)
        outputs.present = present
        outputs.stretches = {name: tensors[stretch_name(name)] for name in self.wiring.stretches}
        return outputs


def learned_positions(spec: BoundSpec) -> words.Learned | None:
    """The table of learned positions, or None where positions are not learned."""
    position = spec.layers[0].position
    return position if isinstance(position, words.Learned) else None


def meta_model(spec: BoundSpec, dtype: torch.dtype = torch.float32) -> Model:
    """The model with shapes and no storage, whatever its size."""
    with torch.device("meta"):
        return Model(spec, dtype)
