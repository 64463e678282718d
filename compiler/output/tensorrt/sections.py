"""The engine section of a manifest, and the options and packages that it follows from, before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import convert
from msgspec.structs import replace

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.devices import check_float8, choose_devices
from archc.compiler.output.tensorrt.package import PACKAGES, Package, load_package
from archc.compiler.output.tensorrt.profiles import make_profiles
from archc.plan import Encoder, Engine, Manifest
from archc.plan.axes import has_slots
from archc.plan.ownership import check_file_path
from archc.plan.records import Input, Limits, Output, State


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine build. `timing_cache` is a file that TensorRT writes if it does not exist."""

    max_batch_size: int = 1
    compute_capabilities: tuple[str, ...] = ()
    weight_streaming: bool = False
    timing_cache: Path | None = None
    keep_graph: bool = False


@dataclass(frozen=True)
class EngineBuilder:
    """The package, the compute capabilities and the options of one build."""

    package: Package
    trt: Any = field(repr=False)
    capabilities: tuple[str, ...]
    options: EngineOptions

    def section(
        self,
        file: str,
        inputs: Sequence[Input],
        outputs: Sequence[Output],
        state: Sequence[State],
        limits: Limits,
        source: int = 0,
        two_tokens: bool = False,
    ) -> Engine:
        """Return the engine section for a graph with these tensors; see `make_profiles`."""
        batch = self.options.max_batch_size
        # TensorRT for RTX stores weights a second time, in another layout, for a profile of single rows alone.
        two_tokens = two_tokens or self.package.ahead_of_time
        growing = any(has_slots(item.shape) for item in state)
        section = {
            "file": file,
            "builder": self.package.module,
            "version": self.trt.__version__,
            "compute_capabilities": self.capabilities,
            "profiles": make_profiles(inputs, outputs, state, limits, batch, source, two_tokens),
            "capacity": limits.max_seq_len if growing else None,
            "aliased": [(item.input, item.output) for item in state if item.kind in ("kv", "block")],
            "weight_streaming": self.options.weight_streaming,
        }
        return convert(section, Engine)

    def sections(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[Output],
        state: Sequence[State],
        limits: Limits,
        encoder: Encoder | None,
        two_tokens: bool,
    ) -> tuple[Engine, Encoder | None]:
        """Return the section of the main graph, and the encoder with its own section."""
        if encoder is None:
            return self.section("engine.trt", inputs, outputs, state, limits, two_tokens=two_tokens), None
        second = self.section("encoder.trt", encoder.inputs, encoder.outputs, (), encoder.limits)
        first = self.section("engine.trt", inputs, outputs, state, limits, encoder.limits.max_seq_len, two_tokens)
        return first, replace(encoder, engine=second)

    def update(self, manifest: Manifest, target: str) -> Manifest:
        """Return the manifest of a plan after its engines are built again."""
        assert manifest.engine is not None
        two_tokens = manifest.engine.profiles[-1].axes["seq"][2] == 2  # the last profile is that of decoding steps
        engine, encoder = self.sections(
            manifest.inputs, manifest.outputs, manifest.state, manifest.limits, manifest.encoder, two_tokens
        )
        return replace(manifest, engine=engine, encoder=encoder, target=target, entries={})


def open_builder(target: str, options: EngineOptions, quantization: str | None = None) -> EngineBuilder:
    """Return the builder of a target. Raises BuildError for a missing package or GPU, or an option out of range."""
    if options.max_batch_size < 1:
        raise BuildError(f"--max-batch-size {options.max_batch_size}: expected at least 1; choose a larger one")
    package = PACKAGES[target]
    if options.timing_cache is not None and package.ahead_of_time:
        raise BuildError(f"--timing-cache: not supported by {target}, which tunes kernels at run time; leave it out")
    if options.timing_cache is not None and not options.timing_cache.absolute().parent.is_dir():
        raise BuildError(f"--timing-cache {options.timing_cache}: its folder does not exist; create it first")
    if options.timing_cache is not None:
        check_file_path(options.timing_cache, "--timing-cache")
    trt = load_package(target)
    capabilities = choose_devices(target, trt, options.compute_capabilities)
    if quantization == "fp8":
        check_float8(capabilities)
    return EngineBuilder(package, trt, capabilities, options)


def refuse_options(target: str, options: EngineOptions) -> None:
    """Raise BuildError for an engine option of a target without engines."""
    used = {
        "--max-batch-size": options.max_batch_size != 1,
        "--compute-capability": bool(options.compute_capabilities),
        "--weight-streaming": options.weight_streaming,
        "--timing-cache": options.timing_cache is not None,
        "--keep-graph": options.keep_graph,
    }
    for name, is_used in used.items():
        if is_used:
            raise BuildError(
                f"{name}: not supported by {target}, only by {' and '.join(PACKAGES)}; leave it out, or change --target"
            )
