"""The torch model of a bound spec, which is traced part by part, or run whole in torch.

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import (
    EMBEDDING_OUTPUT,
    cross_layer_inputs,
    cross_layer_outputs,
    embedding_output,
    layer_output,
)
from archc.compiler.contract.dtypes import torch_name
from archc.compiler.contract.inputs_outputs import has_cache, hidden_width, learned_positions, present_name
from archc.compiler.contract.shared_inputs import FOURIER, SOURCE_MASK, LayerReads, find_shared_inputs
from archc.compiler.contract.state import CROSS_KEY, CROSS_VALUE, State
from archc.compiler.modules.attention.relative_bias import BiasTable
from archc.compiler.modules.attention.relative_table import RelativeTable
from archc.compiler.modules.basic.embedding import Embedding
from archc.compiler.modules.basic.front import share_front
from archc.compiler.modules.basic.head import ClassesHead, LmHead, MlmHead, VectorHead, make_head
from archc.compiler.modules.basic.norm import LayerNorm, PerHead, RmsNorm, make_norm
from archc.compiler.modules.basic.pooling import Rows, make_pooler
from archc.compiler.modules.basic.streams import make_joined_streams
from archc.compiler.modules.basic.table import Table
from archc.compiler.modules.layer import Layer
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.position.shared_tensors import SINUSOIDS, SharedTensors, ntk_scale_name
from archc.compiler.ops import operators as ops
from archc.plan.dtypes import DTypeName


@dataclass
class Outputs:
    """The results of one call; None for those that the spec does not have or the call does not request."""

    hidden_states: Tensor
    logits: Tensor | None = None
    pooled: Tensor | None = None
    classes: Tensor | None = None
    present: list[dict[str, Tensor]] = field(default_factory=list)
    ntk_scales: dict[str, Tensor] = field(default_factory=dict)


def layer_inputs(layer: LayerReads, tensors: Mapping[str, Tensor], cross_layer: Mapping[str, Tensor]) -> LayerInputs:
    """Return the inputs of one layer: its share of all shared tensors, and those of earlier layers."""
    return LayerInputs(
        mask_B1ST=tensors[layer.mask] if layer.mask else None,
        real_BS1=tensors.get(layer.real) if layer.real else None,
        cross_layer=cross_layer,
        write_indices_B=tensors.get("write_indices"),
        lengths_B=tensors.get("lengths"),
        input_ids_BS=tensors.get("input_ids"),
        cos_BSR=tensors[f"{layer.rope}.cos"] if layer.rope else None,
        sin_BSR=tensors[f"{layer.rope}.sin"] if layer.rope else None,
        bias_BHST=tensors[bias] if (bias := layer.alibi or layer.relative_bias) else None,
        query_scale_B1S1=tensors[layer.query_scale] if layer.query_scale else None,
        buckets_BST=tensors[layer.buckets] if layer.buckets else None,
        relative_1RN=tensors[layer.relative_table] if layer.relative_table else None,
        fourier_cos_BSS=tensors[f"{FOURIER}.cos"] if layer.fourier else None,
        fourier_sin_BSS=tensors[f"{FOURIER}.sin"] if layer.fourier else None,
        source_mask_B1ST=tensors[SOURCE_MASK] if layer.crosses else None,
        rotates_last=layer.rotates_last,
        past_mask_B1ST=tensors[layer.past_mask] if layer.past_mask else None,
    )


class Model(nn.Module):
    """A whole architecture; parameter names are the tensor names of weight tables.

    The `encoder` of an encoder-decoder is another Model; `tokens` is the token table that both share.
    """

    def __init__(self, spec: BoundSpec, dtype: torch.dtype = torch.float32, tokens: Table | None = None) -> None:
        super().__init__()
        self.spec, self.dtype, self.shared_inputs = spec, dtype, find_shared_inputs(spec)
        width = spec.embedding.width
        self.shared_tensors = SharedTensors(self.shared_inputs, width, dtype)
        streams = spec.layers[0].streams
        positions = learned_positions(spec)
        self.embedding = Embedding(spec.embedding, positions, dtype, tokens, len(spec.layers), streams)
        self.encoder: Model | None = None
        if spec.encoder is not None:
            self.encoder = Model(spec.encoder, dtype, self.embedding.tokens if spec.ties_encoder else None)
        shared = self.shared_inputs
        biases = [
            (word, heads)
            for name, heads in shared.relative_biases.values()
            if isinstance(word := shared.buckets[name].word, words.RelativeBuckets)
        ]
        self.relative_bias = BiasTable(biases[0][0].buckets, biases[0][1], dtype) if biases else None
        # One table, whose numbers are learned; it computes a part of the shared tensors.
        self.rotary = next((rope for rope in self.shared_tensors.ropes.values() if rope.word.learned), None)
        tables = list(self.shared_inputs.relative_tables.values())
        self.relative_table = RelativeTable(tables[0], width, dtype) if tables else None
        source_width = spec.encoder.embedding.width if spec.encoder is not None else 0
        # Layers that share weights are one module.
        numbered = zip(spec.weight_sets, spec.layers, strict=True)
        vector = spec.embedding.per_layer.width if spec.embedding.per_layer is not None else 0
        vocab = spec.embedding.vocab
        sets = {number: Layer(layer, width, dtype, source_width, vector, vocab) for number, layer in numbered}
        self.layers = nn.ModuleList(sets[number] for number in spec.weight_sets)
        fronts: dict[int, nn.Module] = {}
        for number, layer_word, layer in zip(words.front_sets(spec.layers), spec.layers, self.layers, strict=True):
            if layer_word.front is not None:
                share_front(layer, fronts.setdefault(number, layer))
        self.final_streams = make_joined_streams(streams, width, dtype)
        self.final_norm = make_norm(spec.final_norm, width, dtype)
        self.head = make_head(spec.head, spec.embedding, self.embedding.tokens.weight, dtype)
        self.pooler = make_pooler(spec.pooler, hidden_width(spec), dtype)

    @property
    def dtype_name(self) -> DTypeName:
        """The dtype that the model computes in, as plans name it."""
        return torch_name(self.dtype)

    @property
    def cached(self) -> bool:
        """True if layers have a state between calls."""
        return self.spec.topology != "encoder"

    def zero_centred_norms(self) -> set[str]:
        """Return the norm weights that are stored minus one."""
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
        lengths: Tensor | None = None,
    ) -> Tensor:
        """int64 ids [B, S], sinusoids [B, S, width] and lengths [B] → the residual stream [B, S, width]."""
        x: Tensor = self.embedding(input_ids, position_ids, token_type_ids, sinusoids, lengths)
        return x

    def pass_vectors(self, input_ids: Tensor, x_BSN: Tensor) -> dict[str, Tensor]:
        """Return the vectors of the per-layer embedding by their names in the graph."""
        per_layer = self.embedding.per_layer
        vectors = per_layer(input_ids, x_BSN) if per_layer is not None else []
        return {embedding_output(index): vector for index, vector in enumerate(vectors)}

    def score_biases(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the biases on scores that layers share, [B, H, S, T] by name, looked up by buckets [B, S, T]."""
        assert self.relative_bias is not None or not self.shared_inputs.relative_biases
        biases = self.shared_inputs.relative_biases.items()
        return {name: self.relative_bias(tensors[buckets]) for name, (buckets, _) in biases}  # type: ignore[misc]

    def encoder_kv(self, hidden_BTN: Tensor) -> list[dict[str, Tensor]]:
        """Return each layer's cross-attention keys and values [B, K, T, D] of the encoder's output [B, T, width]."""
        pairs = [layer.cross_attention.keys_values(hidden_BTN) for layer in self.layers]  # type: ignore[union-attr, operator]
        return [{CROSS_KEY: key, CROSS_VALUE: value} for key, value in pairs]

    def end(self, x_BSN: Tensor, logit_positions_BP: Tensor | None, rows: Rows | None = None) -> Outputs:
        """The last layer's output [B, S, width] → hidden states, logits at positions [B, P], classes, pooled vector.

        Pooling reads `rows`.
        """
        hidden = self.final_norm(self.final_streams(x_BSN))
        if isinstance(self.head, VectorHead):
            hidden = self.head(hidden)
        outputs = Outputs(hidden)
        if isinstance(self.head, ClassesHead):
            outputs.classes = self.head(hidden, rows)
        elif isinstance(self.head, LmHead | MlmHead) and logit_positions_BP is not None:
            outputs.logits = self.head(ops.take_positions(hidden, logit_positions_BP))
        if self.pooler is not None:
            outputs.pooled = self.pooler(hidden, rows or Rows())
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
        past_ntk_scales: State | None = None,
        block_position_ids: Tensor | None = None,
    ) -> Outputs:
        """Compute in torch what the exported graph does: int64 ids [B, S], bool masks [B, 1, S, T] by name.

        With `states`, one for each layer, `write_indices` and `lengths` are int64 [B]. States of an encoder-decoder
        include those of `encoder_kv`, and its masks that of the source.
        """
        tensors = {
            **masks,
            "input_ids": input_ids,
            **self.shared_tensors(
                position_ids, masks, past_ntk_scales, write_indices, block_position_ids, input_ids, lengths
            ),
        }
        rows = {"write_indices": write_indices, "lengths": lengths}
        tensors |= {name: value for name, value in rows.items() if value is not None}
        tensors |= self.score_biases(tensors)
        if self.relative_table is not None:
            tensors |= dict.fromkeys(self.shared_inputs.relative_tables, self.relative_table())
        x = self.embed(input_ids, position_ids, token_type_ids, tensors.get(SINUSOIDS), lengths)
        present, passed = [], self.pass_vectors(input_ids, x)
        x = passed[EMBEDDING_OUTPUT] = self.embedding.streams(x)
        for index, (layer, reads) in enumerate(zip(self.layers, self.shared_inputs.layers, strict=True)):
            cross_layer = {name: passed[source] for name, source in cross_layer_inputs(self.spec, index).items()}
            x, new = layer(x, layer_inputs(reads, tensors, cross_layer), states[index] if states else {})
            passes_on = cross_layer_outputs(self.spec, index, self.dtype_name)
            passed |= {layer_output(index, name): new.pop(name) for name in passes_on}
            if has_cache(self.spec):
                passed |= {present_name(index, name): tensor for name, tensor in new.items()}
            present.append({name: new[name] for name in new if name in states[index]} if states else {})
        outputs = self.end(x, logit_positions, Rows(lengths, input_ids))
        outputs.present = present
        outputs.ntk_scales = {name: tensors[ntk_scale_name(name)] for name in self.shared_inputs.ntk_scales}
        return outputs


def meta_model(spec: BoundSpec, dtype: torch.dtype = torch.float32) -> Model:
    """Return the model on the meta device: shapes without storage."""
    with torch.device("meta"):
        return Model(spec, dtype)
