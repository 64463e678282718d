"""Plans with engines: graphs and weights are written to a work folder, and the engines built from there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from msgspec.structs import replace

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.network import NetworkReport
from archc.compiler.output.tensorrt.package import PACKAGES
from archc.compiler.output.tensorrt.process import BuildRequest, build_engine
from archc.compiler.output.tensorrt.profiles import sizes_of
from archc.compiler.output.tensorrt.sections import EngineBuilder, EngineOptions, open_builder
from archc.compiler.output.weights_file import WEIGHTS, Listener, Progress
from archc.compiler.output.writing import MODEL, Content, check_destination, check_space, fill_folder
from archc.plan import Encoder, Engine, Manifest, Plan, PlanWriter
from archc.plan.axes import slots_of

ENCODER = "encoder.onnx"
_CHUNK = 2**20
_COPIES = 3  # each about as large as the weights: weights.bin, the engine, and the plan that it is copied to
_MAGIC = b"PK\x03\x04"
Shape = tuple[int | str, ...]


def write_engine_plan(
    builder: EngineBuilder, path: Path, content: Content, manifest: Manifest, listener: Listener
) -> Path:
    """Build the engines of the graphs and write the plan; if anything fails, an older plan stays as it was."""
    check_space(path, _COPIES * content.bytes)
    with _work_folder(path) as folder:
        try:
            fill_folder(folder, content, listener)
        except OSError as error:
            raise BuildError(f"{path}: cannot be written: {error.strerror or error}") from None
        return _compile(builder, folder, path, content.files, manifest, listener.progress)


def is_plan(path: str | Path) -> bool:
    """Return whether a path is a plan file."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def rebuild(
    plan: Path,
    out: Path,
    target: str,
    options: EngineOptions,
    progress: Progress = lambda name, done, total: None,
) -> Path:
    """Build the engines of a plan again, for the installed package and these options, from its graphs and weights.

    Raises BuildError if the plan has none, and PlanError for a damaged plan.
    """
    if target not in PACKAGES:
        raise BuildError(f"{plan}: only engines can be built from a plan; choose --target {' or '.join(PACKAGES)}")
    check_destination(out, folder=False)
    with Plan(plan) as old, _work_folder(out) as folder:
        if old.manifest.engine is None:
            raise BuildError(
                f"{plan}: a plan for {old.manifest.target} without an engine; build from its spec and --weights"
            )
        if MODEL not in old.names:
            raise BuildError(f"{plan}: has no graph to build from; build it from its spec, with --keep-graph")
        builder = open_builder(target, options, old.manifest.quantization)
        check_space(out, _COPIES * plan.stat().st_size)
        old.unpack(folder / "old")
        files = {name.removeprefix("tokenizer/"): old.read(name) for name in old.names if name.startswith("tokenizer/")}
        return _compile(builder, folder / "old", out, files, builder.update(old.manifest, target), progress)


def _compile(
    builder: EngineBuilder,
    folder: Path,
    path: Path,
    files: Mapping[str, bytes],
    manifest: Manifest,
    progress: Progress,
) -> Path:
    keep = builder.options.keep_graph
    weights = (folder / WEIGHTS).stat().st_size
    with PlanWriter(path) as writer:
        for graph, part in ((MODEL, manifest), (ENCODER, manifest.encoder)):
            if part is None or part.engine is None:
                continue
            progress(f"TensorRT builds {part.engine.file}", weights, weights)
            report = build_engine(_request(builder, folder, graph, part, manifest.target))
            check_report(report, part.engine)
            _move(folder / part.engine.file, writer)
            if keep:
                _move(folder / graph, writer)
        if keep:
            _move(folder / WEIGHTS, writer)
        for name, data in files.items():
            writer.add(f"tokenizer/{name}", data)
        return writer.finish(manifest if keep else replace(manifest, tensors=()))


def _request(builder: EngineBuilder, folder: Path, graph: str, part: Manifest | Encoder, target: str) -> BuildRequest:
    assert part.engine is not None
    shapes, cache = input_shapes(part), builder.options.timing_cache
    return BuildRequest(
        target=target,
        folder=str(folder),
        graph=graph,
        engine=part.engine.file,
        profiles=[
            {name: sizes_of(profile, shape) for name, shape in shapes.items()} for profile in part.engine.profiles
        ],
        capabilities=builder.capabilities,
        weight_streaming=builder.options.weight_streaming,
        timing_cache=str(cache) if cache is not None else None,
    )


def _move(path: Path, writer: PlanWriter) -> None:
    """Move a file into the plan, so that a large file is on the disk twice only while it is copied."""
    with writer.stream(path.name) as sink, path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            sink.write(chunk)
    path.unlink()


def input_shapes(part: Manifest | Encoder) -> dict[str, Shape]:
    """Return the shapes of a graph's inputs, with state, by name; axes that an engine leaves open are names."""
    states = part.state if isinstance(part, Manifest) else ()
    shapes: dict[str, Shape] = {item.name: item.shape for item in part.inputs}
    shapes |= {state.input: state.shape for state in states}
    slots = part.engine.capacity if part.engine is not None else None
    return {
        name: shape if slots is None else tuple(slots_of(axis, slots) or axis for axis in shape)
        for name, shape in shapes.items()
    }


def check_report(report: NetworkReport, engine: Engine) -> None:
    """Raise BuildError if TensorRT parsed attention or KV caches differently from what the graph means."""
    for layer in report.attentions:
        if layer.causal or not layer.masked:
            raise BuildError(
                f"{engine.file}: TensorRT parsed an Attention as causal or without its mask; this is a fault of archc"
            )
    if report.cache_updates != len(engine.aliased):
        raise BuildError(
            f"{engine.file}: TensorRT updates {report.cache_updates} caches in place, expected {len(engine.aliased)}; "
            "this is a fault of archc"
        )


@contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """Create a folder next to the output file for the time of a build."""
    folder = path.absolute().with_name(f".{path.name[:80]}.{token_hex(6)}.work")
    try:
        folder.mkdir()
    except OSError as error:
        raise BuildError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
