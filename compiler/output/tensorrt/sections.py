"""What a plan says about its engines, and what it takes to build them: known before anything is built."""

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
from archc.compiler.output.tensorrt.profiles import CAPACITY, make_profiles
from archc.plan import Encoder, Engine, Manifest
from archc.plan.manifest import Input, Limits, Output, State
from archc.plan.ownership import check_file_path


@dataclass(frozen=True)
class EngineOptions:
    """What a user may choose of an engine. `timing_cache` is a file of TensorRT's, made where there is none."""

    max_batch_size: int = 1
    compute_capabilities: tuple[str, ...] = ()
    weight_streaming: bool = False
    timing_cache: Path | None = None
    keep_graph: bool = False


@dataclass(frozen=True)
class EngineBuilder:
    """A package, the devices and the options of one build."""

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
        loose: bool = False,
    ) -> Engine:
        """The manifest's `engine` for a graph with these tensors; see `make_profiles`."""
        batch = self.options.max_batch_size
        # TensorRT for RTX keeps weights twice where a profile is of single rows alone: in another order for those.
        loose = loose or self.package.ahead
        growing = any(CAPACITY in item.shape for item in state)
        section = {
            "file": file,
            "builder": self.package.module,
            "version": self.trt.__version__,
            "compute_capabilities": self.capabilities,
            "profiles": make_profiles(inputs, outputs, state, limits, batch, source, loose),
            "capacity": limits.max_seq_len if growing else None,
            "aliased": [(item.input, item.output) for item in state if item.kind == "kv"],
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
        loose: bool,
    ) -> tuple[Engine, Encoder | None]:
        """The section of a plan's graph, and its encoder with a section of its own."""
        if encoder is None:
            return self.section("engine.trt", inputs, outputs, state, limits, loose=loose), None
        second = self.section("encoder.trt", encoder.inputs, encoder.outputs, (), encoder.limits)
        first = self.section("engine.trt", inputs, outputs, state, limits, encoder.limits.max_seq_len, loose)
        return first, replace(encoder, engine=second)

    def renewed(self, manifest: Manifest, target: str) -> Manifest:
        """The manifest of a plan whose engines are built again."""
        assert manifest.engine is not None
        loose = manifest.engine.profiles[-1].axes["seq"][2] == 2  # of the last profile: that of single tokens
        engine, encoder = self.sections(
            manifest.inputs, manifest.outputs, manifest.state, manifest.limits, manifest.encoder, loose
        )
        return replace(manifest, engine=engine, encoder=encoder, target=target, entries={})


def open_builder(target: str, options: EngineOptions, quantization: str | None = None) -> EngineBuilder:
    """The builder of a target. Raises BuildError where its package or its device is missing, or an option is wrong."""
    if options.max_batch_size < 1:
        raise BuildError(f"--max-batch-size {options.max_batch_size}: an engine takes at least one row")
    package = PACKAGES[target]
    if options.timing_cache is not None and package.ahead:
        raise BuildError(f"--timing-cache: {target} chooses its kernels at run time and has none: leave it out")
    if options.timing_cache is not None and not options.timing_cache.absolute().parent.is_dir():
        raise BuildError(f"--timing-cache {options.timing_cache}: its folder does not exist; make it first")
    if options.timing_cache is not None:
        check_file_path(options.timing_cache, "--timing-cache")
    trt = load_package(target)
    capabilities = choose_devices(target, trt, options.compute_capabilities)
    if quantization == "fp8":
        check_float8(capabilities)
    return EngineBuilder(package, trt, capabilities, options)


def refuse_options(target: str, options: EngineOptions) -> None:
    """Raises BuildError for an option of engines where the target is none."""
    given = {
        "--max-batch-size": options.max_batch_size != 1,
        "--compute-capability": bool(options.compute_capabilities),
        "--weight-streaming": options.weight_streaming,
        "--timing-cache": options.timing_cache is not None,
        "--keep-graph": options.keep_graph,
    }
    for name, wanted in given.items():
        if wanted:
            raise BuildError(f"{name} is for the targets {' and '.join(PACKAGES)}: leave it out for {target}")
