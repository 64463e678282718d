"""From an ONNX file to TensorRT's network, and from that to the bytes of an engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.devices import set_devices

ADVICE = "another --dtype, or none of --quantize, may build, and --target ort-cuda needs no engine"
Sizes = Sequence[Sequence[int]]
"""The least, usual and greatest size of every axis of an input."""


@dataclass(frozen=True)
class AttentionLayer:
    """What TensorRT made of one Attention node: sizes of query and key heads, and what hides keys."""

    heads: int
    kv_heads: int
    head_dim: int
    masked: bool
    causal: bool


@dataclass
class Account:
    """What TensorRT made of a graph, read back from its network and not from the file."""

    attentions: list[AttentionLayer] = field(default_factory=list)
    cache_updates: int = 0
    """How many caches it writes in place."""


@dataclass
class Network:
    """A parsed graph."""

    name: str
    trt: Any
    log: Any
    builder: Any
    definition: Any
    parser: Any = field(repr=False)  # keeps the weights that it read
    account: Account = field(default_factory=Account)


def make_log(trt: Any) -> Any:
    """A logger that keeps errors: a builder returns None, and the reason is in the log alone."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))
                print(self.errors[-1], file=sys.stderr, flush=True)  # for whoever finds this process crashed

    return Log()


def parse(trt: Any, path: Path) -> Network:
    """The network of a graph whose weights lie beside it. Raises BuildError with the parser's reason."""
    log = make_log(trt)
    builder = trt.Builder(log)
    definition = builder.create_network(0)
    parser = trt.OnnxParser(definition, log)
    # By path, so that weights are read from their file and not held beside the graph.
    if not parser.parse_from_file(str(path)):
        reasons = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise BuildError(f"TensorRT cannot express {path.name}: {_told(reasons or log.errors)}; {ADVICE}")
    network = Network(path.name, trt, log, builder, definition, parser)
    _read_layers(network)
    return network


def _read_layers(network: Network) -> None:
    trt = network.trt
    for index in range(network.definition.num_layers):
        layer = network.definition.get_layer(index)
        network.account.cache_updates += layer.type == trt.LayerType.KV_CACHE_UPDATE
        if layer.type != trt.LayerType.ATTENTION_INPUT:
            continue
        layer.__class__ = trt.IAttentionInputLayer  # how the bindings give a layer its own attributes
        attention = layer.attention
        query, keys = layer.get_input(0), layer.get_input(1)
        # Where no fused kernel fits (float32, heads wider than 256, some devices), from primitive layers.
        attention.decomposable = True
        causal = bool(attention.causal)
        if hasattr(attention, "causal_kind"):
            causal = causal or attention.causal_kind != trt.CausalMaskKind.NONE
        _, heads, _, width = query.shape
        masked = attention.mask is not None
        network.account.attentions.append(AttentionLayer(heads, keys.shape[1], width, masked, causal))


def build(
    network: Network,
    profiles: Sequence[Mapping[str, Sizes]],
    capabilities: Sequence[str],
    ahead: bool,
    weight_streaming: bool = False,
    timing_cache: Path | None = None,
) -> Any:
    """The engine's bytes, as a buffer; a profile has the sizes of every input.

    Raises BuildError with the builder's log where it fails.
    """
    trt, builder = network.trt, network.builder
    config = builder.create_builder_config()
    if ahead:
        set_devices(trt, config, capabilities)
    if weight_streaming:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    cache = _open_cache(config, timing_cache) if not ahead else None
    for profile in profiles:
        sizes = builder.create_optimization_profile()
        for name, shapes in profile.items():
            sizes.set_shape(name, *shapes)
        config.add_optimization_profile(sizes)
    engine = builder.build_serialized_network(network.definition, config)
    if engine is None:
        raise BuildError(f"TensorRT cannot build {network.name}: {_told(network.log.errors)}; {ADVICE}")
    if cache is not None and timing_cache is not None:
        _replace(timing_cache, memoryview(config.get_timing_cache().serialize()))
    return engine


def _open_cache(config: Any, path: Path | None) -> Any:
    """How long kernels took in earlier builds on this device. TensorRT for RTX chooses at run time and keeps none."""
    if path is None:
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if not config.set_timing_cache(cache, False):
        raise BuildError(f"{path}: is no timing cache of this TensorRT and device: remove it, or name another")
    return cache


def _replace(path: Path, data: memoryview) -> None:
    """Writes a file beside its name and renames it: another build may read the old one meanwhile."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_bytes(data)
    beside.replace(path)


def _parser_error(error: Any) -> str:
    node = error.node_name() or error.node_operator()
    return f"{node}: {' '.join(error.desc().split())}" if node else " ".join(error.desc().split())


def _told(reasons: Sequence[str]) -> str:
    """The first reasons, short enough for a line."""
    return " | ".join(dict.fromkeys(reason[:600] for reason in reasons[:3])) or "it gave no reason"
