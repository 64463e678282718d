"""ONNX file → TensorRT network → serialized engine: the work of the child process that builds an engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.devices import set_devices

ADVICE = "try another --dtype, or no --quantize; --target ort-cuda needs no engine"
Sizes = Sequence[Sequence[int]]
"""The minimum, optimal and maximum size of every axis of an input."""


@dataclass(frozen=True)
class AttentionLayer:
    """An Attention node as TensorRT parsed it: its heads, and whether it has a mask or is causal."""

    heads: int
    kv_heads: int
    head_dim: int
    masked: bool
    causal: bool


@dataclass
class NetworkReport:
    """Properties of a network, read back from TensorRT after parsing."""

    attentions: list[AttentionLayer] = field(default_factory=list)
    #: Number of KV caches that are updated in place.
    cache_updates: int = 0


@dataclass
class Network:
    """A parsed graph with the TensorRT objects that it needs."""

    name: str
    trt: Any
    logger: Any
    builder: Any
    definition: Any
    parser: Any = field(repr=False)  # owns the weights that it read
    report: NetworkReport = field(default_factory=NetworkReport)


def make_logger(trt: Any) -> Any:
    """Return a logger that collects errors: a builder that fails returns None, and only the log has the reason."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))
                print(self.errors[-1], file=sys.stderr, flush=True)  # repeated by the parent if this process crashes

    return Logger()


def parse(trt: Any, path: Path) -> Network:
    """Return the network of a graph with its weights next to it. Raises BuildError with the parser's reason."""
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    definition = builder.create_network(0)
    parser = trt.OnnxParser(definition, logger)
    # By path, so that weights are read from their file and are not in memory with the graph.
    if not parser.parse_from_file(str(path)):
        reasons = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise BuildError(f"{path.name}: not supported by TensorRT: {_joined(reasons or logger.errors)}; {ADVICE}")
    network = Network(path.name, trt, logger, builder, definition, parser)
    _read_layers(network)
    return network


def _read_layers(network: Network) -> None:
    trt = network.trt
    for index in range(network.definition.num_layers):
        layer = network.definition.get_layer(index)
        network.report.cache_updates += layer.type == trt.LayerType.KV_CACHE_UPDATE
        if layer.type != trt.LayerType.ATTENTION_INPUT:
            continue
        layer.__class__ = trt.IAttentionInputLayer  # the bindings' way to the attributes of a kind of layer
        attention = layer.attention
        query, keys = layer.get_input(0), layer.get_input(1)
        # Primitive layers where no fused kernel fits: float32, heads wider than 256, some GPUs.
        attention.decomposable = True
        causal = bool(attention.causal)
        if hasattr(attention, "causal_kind"):
            causal = causal or attention.causal_kind != trt.CausalMaskKind.NONE
        _, heads, _, width = query.shape
        masked = attention.mask is not None
        network.report.attentions.append(AttentionLayer(heads, keys.shape[1], width, masked, causal))


def build(
    network: Network,
    profiles: Sequence[Mapping[str, Sizes]],
    capabilities: Sequence[str],
    ahead_of_time: bool,
    weight_streaming: bool = False,
    timing_cache: Path | None = None,
) -> Any:
    """Return the bytes of the engine as a buffer; a profile has the sizes of every input.

    Raises BuildError with the builder's log if the build fails.
    """
    trt, builder = network.trt, network.builder
    config = builder.create_builder_config()
    if ahead_of_time:
        set_devices(trt, config, capabilities)
    if weight_streaming:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    cache = _open_cache(config, timing_cache) if not ahead_of_time else None
    for profile in profiles:
        sizes = builder.create_optimization_profile()
        for name, shapes in profile.items():
            sizes.set_shape(name, *shapes)
        config.add_optimization_profile(sizes)
    engine = builder.build_serialized_network(network.definition, config)
    if engine is None:
        raise BuildError(f"{network.name}: TensorRT cannot build it: {_joined(network.logger.errors)}; {ADVICE}")
    if cache is not None and timing_cache is not None:
        _replace(timing_cache, memoryview(config.get_timing_cache().serialize()))
    return engine


def _open_cache(config: Any, path: Path | None) -> Any:
    """Load the kernel timings of earlier builds on this GPU; TensorRT for RTX has none, it tunes at run time."""
    if path is None:
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if not config.set_timing_cache(cache, False):
        raise BuildError(
            f"{path}: not a timing cache of this TensorRT version and GPU; remove it, or choose another file"
        )
    return cache


def _replace(path: Path, data: memoryview) -> None:
    """Write a file next to its name and rename it, because another build may be reading the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def _parser_error(error: Any) -> str:
    node = error.node_name() or error.node_operator()
    return f"{node}: {' '.join(error.desc().split())}" if node else " ".join(error.desc().split())


def _joined(reasons: Sequence[str]) -> str:
    """Return the first reasons on one line."""
    return " | ".join(dict.fromkeys(reason[:600] for reason in reasons[:3])) or "it gave no reason"
