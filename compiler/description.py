"""What a plan says about itself: its manifest."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version

from archspec import BoundSpec
from compiler import interface
from compiler.checkpoint.folder import SpecialTokens
from compiler.cost import flops_per_token, parameter_count
from compiler.form import Form
from compiler.lowering import Lowered
from compiler.model import Model
from compiler.tensorrt.profiles import is_loose
from compiler.tensorrt.sections import EngineBuilder
from runtime.plan import Encoder, Limits, Manifest, Prefix, Tokens
from runtime.plan.manifest import Tensor

_PACKAGES = ("torch", "onnx-ir", "onnxscript")


def describe(
    model: Model,
    form: Form,
    lowered: Lowered,
    tensors: Sequence[Tensor],
    tokens: SpecialTokens,
    builder: EngineBuilder | None = None,
) -> Manifest:
    """The manifest of a plan with these graphs and tensors; `builder` is what builds its engines, where it has any."""
    spec = model.spec
    engine, encoder = None, _describe_encoder(spec, model)
    if builder is not None:
        ends = lowered.inputs, lowered.outputs, lowered.state, lowered.limits
        engine, encoder = builder.sections(*ends, encoder, is_loose(lowered.main))
    return Manifest(
        archc=version("archc"),
        family=spec.family,
        topology=spec.topology,
        spec=spec.text,
        config=dict(spec.config),
        target=form.target.name,
        dtype=form.dtype,
        quantization=form.quantization,
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        state=lowered.state,
        encoder=encoder,
        engine=engine,
        limits=lowered.limits,
        prefix=Prefix(end=spec.prefix.end, blanks=spec.prefix.blanks) if spec.prefix is not None else None,
        tokens=Tokens(bos=tokens.bos, eos=tokens.eos, pad=tokens.pad, start=tokens.start, never=tokens.never),
        tensors=tuple(tensors),
        parameters=parameter_count(model),
        flops_per_token=flops_per_token(model),
        builder={"python": platform.python_version(), "platform": platform.platform(terse=True)}
        | {name: version(name) for name in _PACKAGES},
    )


def _describe_encoder(spec: BoundSpec, model: Model) -> Encoder | None:
    """What the plan says about the graph that reads a source, where there is one."""
    if spec.encoder is None:
        return None
    return Encoder(
        inputs=tuple(interface.graph_inputs(spec.encoder)),
        outputs=tuple(interface.encoder_outputs(spec, model.dtype)),
        limits=Limits(max_seq_len=spec.encoder.context, vocab_size=spec.encoder.embedding.vocab),
    )
