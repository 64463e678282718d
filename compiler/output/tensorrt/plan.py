"""Plans with engines: graphs and weights are written into a folder, built from there, and kept or thrown away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from msgspec.structs import replace

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.network import Account
from archc.compiler.output.tensorrt.package import PACKAGES
from archc.compiler.output.tensorrt.process import Order, build_engine
from archc.compiler.output.tensorrt.profiles import CAPACITY, sizes_of
from archc.compiler.output.tensorrt.sections import EngineBuilder, EngineOptions, open_builder
from archc.compiler.output.weights_file import WEIGHTS, Listener, Progress
from archc.compiler.output.writing import MODEL, Content, check_space, fill_folder
from archc.plan import Encoder, Engine, Manifest, Plan, PlanWriter

ENCODER = "encoder.onnx"
_CHUNK = 2**20
_PARTS = 3  # about as large as the weights each: those, the engine, and the plan that it is copied to
_MAGIC = b"PK\x03\x04"
Shape = tuple[int | str, ...]


def write_engine_plan(builder: EngineBuilder, path: Path, content: Content, listener: Listener) -> Path:
    """Builds the engines of these graphs and writes the plan; the old file, if there was one, stays on any failure."""
    check_space(path, _PARTS * content.bytes)
    with _work_folder(path) as folder:
        try:
            fill_folder(folder, content, listener)
        except OSError as error:
            raise BuildError(f"{path}: cannot be written: {error.strerror or error}") from None
        return _compile(builder, folder, path, content.files, content.manifest, listener.progress)


def is_plan(path: str | Path) -> bool:
    """Whether a path names a plan, and no spec or checkpoint."""
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
    """Builds the engines of a plan anew, for this package and device, from the graphs and weights that it kept.

    Raises BuildError where it kept none, PlanError for a bad plan.
    """
    if target not in PACKAGES:
        raise BuildError(f"{plan}: only engines are built from a plan: choose --target {' or '.join(PACKAGES)}")
    with Plan(plan) as old, _work_folder(out) as folder:
        if old.manifest.engine is None:
            raise BuildError(
                f"{plan}: is built for {old.manifest.target} and has no engine: name its spec and --weights"
            )
        if MODEL not in old.names:
            raise BuildError(f"{plan}: kept no graph to build from: build it from its spec, with --keep-graph")
        builder = open_builder(target, options, old.manifest.quantization)
        check_space(out, _PARTS * plan.stat().st_size)
        old.unpack(folder / "old")
        files = {name.removeprefix("tokenizer/"): old.read(name) for name in old.names if name.startswith("tokenizer/")}
        return _compile(builder, folder / "old", out, files, builder.renewed(old.manifest, target), progress)


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
            account = build_engine(_order(builder, folder, graph, part, manifest.target))
            check_account(account, part.engine)
            _move(folder / part.engine.file, writer)
            if keep:
                _move(folder / graph, writer)
        if keep:
            _move(folder / WEIGHTS, writer)
        for name, data in files.items():
            writer.add(f"tokenizer/{name}", data)
        return writer.finish(manifest if keep else replace(manifest, tensors=()))


def _order(builder: EngineBuilder, folder: Path, graph: str, part: Manifest | Encoder, target: str) -> Order:
    assert part.engine is not None
    shapes, cache = input_shapes(part), builder.options.timing_cache
    return Order(
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
    """Puts a file into the plan and away, so that large ones do not lie there twice for longer than they must."""
    with writer.stream(path.name) as sink, path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            sink.write(chunk)
    path.unlink()


def input_shapes(part: Manifest | Encoder) -> dict[str, Shape]:
    """Every input of a graph, state among them, with the axes that an engine leaves open by name."""
    states = part.state if isinstance(part, Manifest) else ()
    shapes: dict[str, Shape] = {item.name: item.shape for item in part.inputs}
    shapes |= {state.input: state.shape for state in states}
    slots = part.engine.capacity if part.engine is not None else None
    return {
        name: tuple(slots if axis == CAPACITY and slots is not None else axis for axis in shape)
        for name, shape in shapes.items()
    }


def check_account(account: Account, engine: Engine) -> None:
    """Raises BuildError where TensorRT's network is not what the graph means: its parser has no say in these."""
    for layer in account.attentions:
        if layer.causal or not layer.masked:
            raise BuildError("TensorRT read an Attention as causal or without its mask: this is a fault of archc")
    if account.cache_updates != len(engine.aliased):
        raise BuildError(
            f"TensorRT keeps {account.cache_updates} caches in place where the plan has {len(engine.aliased)}: "
            "this is a fault of archc"
        )


@contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """A folder beside a file that is being made, gone afterwards."""
    folder = path.absolute().with_name(f".{path.name[:80]}.{token_hex(6)}.work")
    try:
        folder.mkdir()
    except OSError as error:
        raise BuildError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
