"""The stages of a model: the parts that are traced, with the names of the tensors between them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from archc.compiler.contract import inputs_outputs as names
from archc.compiler.contract.cross_layer import (
    EMBEDDING_OUTPUT,
    cross_layer_inputs,
    cross_layer_outputs,
    embedding_outputs,
    layer_output,
)
from archc.compiler.contract.shared_inputs import FOURIER, FOURIER_TYPE, REAL, mask_type, table_type
from archc.compiler.contract.types import TensorType
from archc.compiler.modules.attention.cross_attention import CrossAttention
from archc.compiler.modules.basic.pooling import Rows
from archc.compiler.modules.model import Model, layer_inputs
from archc.compiler.modules.position.shared_tensors import SINUSOIDS, ntk_scale_name
from archc.compiler.tracing.parts import Part


@dataclass(frozen=True)
class Stage:
    """A part with the names of the tensors that it reads and computes; stages of equal `kind` are traced once."""

    kind: Hashable
    name: str
    part: Part
    inputs: tuple[str, ...]
    outputs: Mapping[str, TensorType]


def stages_of(model: Model) -> list[Stage]:
    """Return the stages of one stack in order."""
    before = [*_shared_tensors(model), *_score_biases(model), *_relative_table(model)]
    return [*before, _embedding(model), *_layers(model), _end(model)]


def _hidden(model: Model) -> TensorType:
    return TensorType(model.dtype_name, ("batch", "seq", model.spec.embedding.width))


def _stream(model: Model) -> TensorType:
    """Return the type of the residual stream between layers, or of all streams joined."""
    return TensorType(
        model.dtype_name, ("batch", "seq", model.spec.layers[0].stream_count * model.spec.embedding.width)
    )


def _shared_tensors(model: Model) -> list[Stage]:
    """Return the stage that computes shared tensors, if the model has any."""
    shared, module = model.shared_inputs, model.shared_tensors
    outputs: dict[str, TensorType] = {}
    for name, (rope, head_dim) in shared.ropes.items():
        table = table_type(rope, head_dim, model.dtype_name)
        outputs |= {f"{name}.cos": table, f"{name}.sin": table}
    for name in shared.alibis:
        outputs[name] = shared.alibi_type(name, model.dtype_name)
    for name in module.query_scales:
        outputs[name] = TensorType(model.dtype_name, ("batch", 1, "seq", 1))
    for name, buckets in shared.buckets.items():
        outputs[name] = buckets.type
    if module.sinusoids is not None:
        outputs[SINUSOIDS] = _hidden(model)
    inputs: dict[str, TensorType] = {}
    if shared.real:
        outputs["real_tokens"] = REAL
    if shared.fourier:
        outputs |= {f"{FOURIER}.cos": FOURIER_TYPE, f"{FOURIER}.sin": FOURIER_TYPE}
    if shared.real or shared.fourier:
        inputs |= {"input_ids": names.TOKENS, "lengths": names.ROWS}
    if not outputs:
        return []
    computed = list(outputs)
    if shared.positions:
        inputs["position_ids"] = names.TOKENS
    if shared.block_positions:
        inputs["block_position_ids"] = names.BLOCKS
    for _, mask in (*module.alibis.values(), *module.buckets.values()):
        inputs[mask] = mask_type(shared.masks[mask])
    ntk_scales = shared.ntk_scales if model.cached else {}
    if ntk_scales:
        inputs["write_indices"] = names.ROWS
    for name, kind in ntk_scales.items():
        inputs[names.past_ntk_scale(name)] = kind
        outputs[names.present_ntk_scale(name)] = kind
        computed.append(ntk_scale_name(name))

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        results = module(
            tensors.get("position_ids"),
            tensors,
            {name: tensors[names.past_ntk_scale(name)] for name in ntk_scales},
            tensors.get("write_indices"),
            tensors.get("block_position_ids"),
            tensors.get("input_ids"),
            tensors.get("lengths"),
        )
        return [results[name] for name in computed]

    owner = model.rotary if model.rotary is not None else module
    return [Stage("shared", "shared", Part(owner, function, inputs), tuple(inputs), outputs)]


def _score_biases(model: Model) -> list[Stage]:
    """Return the stage that computes score biases, if layers share any."""
    shared = model.shared_inputs
    outputs = {name: shared.relative_bias_type(name, model.dtype_name) for name in shared.relative_biases}
    inputs = {name: shared.buckets[name].type for name, _ in shared.relative_biases.values()}
    if not outputs:
        return []

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return list(model.score_biases(tensors).values())

    assert model.relative_bias is not None
    part = Part(model.relative_bias, function, inputs)
    return [Stage("score biases", "score_biases", part, tuple(inputs), outputs)]


def _relative_table(model: Model) -> list[Stage]:
    """Return the stage that norms a table of relative positions, if layers project one."""
    table, shared = model.relative_table, model.shared_inputs
    if table is None:
        return []
    width = model.spec.embedding.width
    outputs = {name: shared.relative_table_type(name, width, model.dtype_name) for name in shared.relative_tables}
    return [Stage("relative table", "relative_table", Part(table, lambda tensors: [table()], {}), (), outputs)]


def cross_stages(model: Model) -> Iterator[Stage]:
    """Yield the stages of the encoder's graph that compute keys and values for each of the decoder's layers."""
    assert model.encoder is not None
    inputs = {"hidden_states": _hidden(model.encoder)}
    for index, word in enumerate(model.spec.layers):
        states = names.layer_states(model.spec, index, model.dtype_name).items()
        outputs = {
            names.past_name(index, name): names.source_type(state) for name, state in states if state.kind == "cross"
        }
        module = model.layers[index].cross_attention
        assert isinstance(module, CrossAttention)
        part = Part(module, _keys_values(module), inputs)
        yield Stage(("crossed", word.cross_attention), f"crossed.{index}", part, tuple(inputs), outputs)


def _keys_values(module: CrossAttention) -> Callable[[Mapping[str, Tensor]], list[Tensor]]:
    return lambda tensors: list(module.keys_values(tensors["hidden_states"]))


def _embedding(model: Model) -> Stage:
    ids = ["input_ids"]
    if model.embedding.positions is not None:
        ids.append("position_ids")
    if model.embedding.token_types is not None:
        ids.append("token_type_ids")
    inputs = dict.fromkeys(ids, names.TOKENS)
    if model.shared_tensors.sinusoids is not None:
        inputs[SINUSOIDS] = _hidden(model)
    if model.embedding.token_dropout is not None:
        inputs["lengths"] = names.ROWS

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        others = (tensors.get(name) for name in ("position_ids", "token_type_ids", SINUSOIDS, "lengths"))
        x = model.embed(tensors["input_ids"], *others)
        return [model.embedding.streams(x), *model.pass_vectors(tensors["input_ids"], x).values()]

    part = Part(model.embedding, function, inputs)
    outputs = {EMBEDDING_OUTPUT: _stream(model), **embedding_outputs(model.spec, model.dtype_name)}
    return Stage("embedding", "embedding", part, tuple(inputs), outputs)


def _layers(model: Model) -> Iterator[Stage]:
    """Yield one stage a layer; layers of equal computation have equal kinds, and so one trace."""
    hidden = EMBEDDING_OUTPUT
    passed = {EMBEDDING_OUTPUT: _stream(model), **embedding_outputs(model.spec, model.dtype_name)}
    for index, word in enumerate(model.spec.layers):
        rows = {"write_indices": names.ROWS} if model.cached and word.attention is not None else {}
        if model.cached and names.layer_needs_lengths(word):
            rows["lengths"] = names.ROWS
        if names.layer_reads_ids(word):
            rows["input_ids"] = names.TOKENS
        states = names.layer_states(model.spec, index, model.dtype_name)
        shared = model.shared_inputs.types(index, model.spec.embedding.width, model.dtype_name)
        # Names within the part: in the graph, layers of one kind read different streams and states.
        inputs = {"hidden": _stream(model), **shared, **rows}
        read = cross_layer_inputs(model.spec, index)
        inputs |= {_PASSED + name: passed[source] for name, source in read.items()}
        inputs |= {_STATE + name: state.tensor for name, state in states.items()}
        outputs = {f"layers.{index}.output": _stream(model)}
        passes_on = cross_layer_outputs(model.spec, index, model.dtype_name)
        outputs |= {layer_output(index, name): kind for name, kind in passes_on.items()}
        updated = [name for name, state in states.items() if state.kind != "cross"]
        outputs |= {names.present_name(index, name): states[name].tensor for name in updated}
        part = Part(model.layers[index], _layer_function(model, index, tuple(read), (*passes_on, *updated)), inputs)
        past = (names.past_name(index, name) for name in states)
        # The same computation with and without tensors for later layers has different outputs.
        kind = (word.computation, tuple(passes_on))
        yield Stage(kind, f"layers.{index}", part, (hidden, *shared, *rows, *read.values(), *past), outputs)
        passed |= outputs
        hidden = f"layers.{index}.output"


_STATE, _PASSED = "state.", "passed."


def _layer_function(
    model: Model, index: int, read: tuple[str, ...], results: tuple[str, ...]
) -> Callable[[Mapping[str, Tensor]], list[Tensor]]:
    module, reads = model.layers[index], model.shared_inputs.layers[index]

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        state = {name[len(_STATE) :]: tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
        cross_layer = {name: tensors[_PASSED + name] for name in read}
        x, present = module(tensors["hidden"], layer_inputs(reads, tensors, cross_layer), state)
        return [x, *(present[name] for name in results)]

    return function


def _end(model: Model) -> Stage:
    outputs = {
        output.name: TensorType(model.dtype_name, output.shape)
        for output in names.graph_outputs(model.spec, model.dtype_name)
    }
    asked = {"logit_positions": names.ASKED} if "logits" in outputs else {}
    rows = {"lengths": names.ROWS} if names.pools_tokens(model.spec) else {}
    if names.pools_by_ids(model.spec):
        rows["input_ids"] = names.TOKENS
    inputs = {"hidden": _stream(model), **asked, **rows}

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        facts = Rows(tensors.get("lengths"), tensors.get("input_ids"))
        results = model.end(tensors["hidden"], tensors.get("logit_positions"), facts)
        return [getattr(results, name) for name in outputs]

    modules = {name: getattr(model, name) for name in ("final_streams", "final_norm", "head", "pooler")}
    owner = nn.ModuleDict({name: module for name, module in modules.items() if module is not None})
    part = Part(owner, function, inputs)
    return Stage("end", "end", part, (f"layers.{len(model.layers) - 1}.output", *asked, *rows), outputs)
