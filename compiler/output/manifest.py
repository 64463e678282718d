"""The manifest of a plan: its graph, its weights, its origin and what built it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version

from archc.archspec import BoundSpec
from archc.archspec.binding.longest import longest_sequence, source_length
from archc.compiler.contract.ports import ENCODER, MODEL, PACKED
from archc.compiler.lower import Lowered
from archc.compiler.options import BuildOptions
from archc.compiler.output.tensorrt.profiles import needs_two_tokens
from archc.compiler.output.tensorrt.sections import EngineBuilder
from archc.compiler.structure.model import structure
from archc.compiler.weights.checkpoint.generation import SpecialTokens
from archc.plan import Encoder, Limits, Manifest, Prefix, Tokens
from archc.plan.chat_format import ChatFormat
from archc.plan.records import Classes, Group, Packed, Tensor

_PACKAGES = ("torch", "onnx-ir", "onnxscript")


def describe(
    spec: BoundSpec,
    options: BuildOptions,
    lowered: Lowered,
    tensors: Sequence[Tensor],
    tokens: SpecialTokens,
    builder: EngineBuilder | None = None,
    chat_format: ChatFormat | None = None,
    classes: Classes | None = None,
) -> Manifest:
    """Return the manifest of a plan with these graphs and tensors; `builder` builds its engines, if it has any."""
    contract = lowered.contracts[MODEL]
    engine, encoder = None, _describe_encoder(spec, lowered)
    if builder is not None:
        tensors_of_call = tuple(contract.inputs), tuple(contract.outputs), tuple(contract.state)
        two_tokens = needs_two_tokens(lowered.main)
        engine, encoder = builder.sections(*tensors_of_call, lowered.limits, encoder, two_tokens)
    parts = structure(spec)
    return Manifest(
        archc=version("archc-compiler"),
        family=spec.family,
        topology=spec.topology,
        spec=spec.text,
        config=dict(spec.config),
        target=options.target.name,
        dtype=options.dtype,
        quantization=options.quantization,
        inputs=tuple(contract.inputs),
        outputs=tuple(contract.outputs),
        state=tuple(contract.state),
        encoder=encoder,
        packed=_describe_packed(lowered),
        engine=engine,
        limits=lowered.limits,
        prefix=Prefix(end=spec.prefix.end, blanks=spec.prefix.blanks) if spec.prefix is not None else None,
        classes=classes,
        generation=tokens.generation if spec.topology != "encoder" else None,
        chat_stop=tokens.chat_stop if spec.topology != "encoder" else (),
        chat_format=chat_format if spec.topology != "encoder" else None,
        tokens=Tokens(bos=tokens.bos, eos=tokens.eos, pad=tokens.pad, start=tokens.start, never=tokens.never),
        tensors=tuple(tensors),
        parameters=parts.parameters,
        flops_per_token=parts.total_flops,
        builder={"python": platform.python_version(), "platform": platform.platform(terse=True)}
        | {name: version(name) for name in _PACKAGES},
    )


def _describe_packed(lowered: Lowered) -> Packed | None:
    """Return the manifest of the graph for many sequences, or None."""
    if lowered.piece is None:
        return None
    steps, piece = lowered.contracts[PACKED], lowered.piece
    return Packed(
        steps=Group(tuple(steps.inputs), tuple(steps.state)),
        piece=Group(tuple(piece.inputs), tuple(piece.state)),
        outputs=tuple(steps.outputs),
    )


def _describe_encoder(spec: BoundSpec, lowered: Lowered) -> Encoder | None:
    """Return the manifest of the encoder graph of an encoder-decoder, otherwise None."""
    if spec.encoder is None:
        return None
    contract = lowered.contracts[ENCODER]
    return Encoder(
        inputs=tuple(contract.inputs),
        outputs=tuple(contract.outputs),
        limits=Limits(
            max_seq_len=source_length(spec, lowered.limits.max_seq_len),
            vocab_size=spec.encoder.embedding.vocab,
            token_types=spec.encoder.embedding.token_types,
            longest_sequence=source_length(spec, longest_sequence(spec)),
        ),
    )
