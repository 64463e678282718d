"""`archc inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import to_builtins

from archc.cli.commands.options import IgnoreConfig, Json, Set, Size
from archc.cli.completion import spec_names
from archc.cli.console import UsageError, folder_bytes, note, warn, write_error, write_json

if TYPE_CHECKING:
    from archc.cli.inspect.listing import Listing
    from archc.plan import Manifest

_SPEC_SUFFIXES = (".yaml", ".yml")


def inspect_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="SPEC|PLAN|DIR",
            help="Spec, plan, checkpoint folder or ONNX folder.",
            show_default=False,
            autocompletion=spec_names,
        ),
    ],
    size: Size = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="DIR", help="Checkpoint folder: sizes, and checkpoint names of all tensors."),
    ] = None,
    overrides: Set = None,
    ignore_config: IgnoreConfig = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the SHA-256 of every entry of a plan; exit 1 on a mismatch.")
    ] = False,
    tensors: Annotated[
        bool,
        typer.Option(
            "--tensors", help="List every tensor too; of a checkpoint, the stored ones by pattern, with their use."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the modules and tensors of a model.

    Prints the module tree, memory, and FLOPs per token. For a plan, also inputs, outputs, state, limits and entries. A
    spec without default sizes is shown at its first named size. --weights adds the names in a checkpoint of every
    tensor, --tensors every tensor of a spec or plan. For a checkpoint folder, or one at --weights, --tensors prints
    the stored tensors instead, also if the spec does not fit them.
    """
    from archc.compiler.weights.checkpoint.folder import is_checkpoint
    from archc.plan.ownership import has_manifest

    path = Path(model)
    if tensors and (weights is not None or is_checkpoint(path)):
        if check or size:
            raise UsageError(f"{'--check' if check else '--size'} has no effect with --tensors; remove one")
        _print_tensors(model, weights, overrides or [], ignore_config or [], as_json)
        return
    is_folder = has_manifest(path)
    if is_folder or (path.is_file() and path.suffix not in _SPEC_SUFFIXES and not is_checkpoint(path)):
        for option, value in (
            ("--size", size),
            ("--weights", weights),
            ("--set", overrides),
            ("--ignore-config", ignore_config),
        ):
            if value:
                raise UsageError(f"{option} has no effect on a plan, because its sizes are fixed; remove it")
        if is_folder and check:
            raise UsageError("--check has no effect on an ONNX folder; it is for plan files")
        listing, fault = (_inspect_folder(path), None) if is_folder else _inspect_plan(path, check)
    else:
        if check:
            raise UsageError("--check has no effect on a spec; check specs with archc check SPEC")
        if not path.exists() and path.suffix == ".plan":
            raise UsageError(f"{model}: no such file")
        listing, fault = _inspect_spec(model, size, weights, overrides or [], ignore_config or []), None
    if as_json:
        write_json(listing.as_json())
    else:
        from archc.cli.inspect.plan_lines import plan_lines

        print("\n".join([*listing.lines(tensors or weights is not None), *plan_lines(listing.more)]))
    if fault is not None:
        write_error(fault)
        raise typer.Exit(1)


def _inspect_spec(
    name: str, size: str | None, weights: Path | None, overrides: list[str], ignore_config: list[str]
) -> Listing:
    from archc.archspec import load_spec
    from archc.cli.inspect.binding import bind_some_size
    from archc.cli.inspect.collect import list_spec
    from archc.compiler.weights.checkpoint.folder import is_checkpoint, local_source

    folder = weights or (Path(name) if is_checkpoint(name) else None)
    if folder is None:
        if ignore_config:
            raise UsageError("--ignore-config has no effect without a checkpoint's config.json; remove it")
        bound = bind_some_size(load_spec(name, overrides), size)
        if bound.size is not None and size is None:
            note(f"{bound.family} has no default sizes; showing {bound.size} (choose with --size or --weights)")
        return list_spec(bound, None)
    from archc.compiler.build import bind
    from archc.compiler.weights.checkpoint.containers import has_weights, read_checkpoint_config

    if not is_checkpoint(folder):
        raise UsageError(f"--weights {folder}: no such folder or file")
    source = local_source(folder)
    folder = source.folder
    spec = name if weights is not None else folder
    bound = bind(spec, read_checkpoint_config(folder), size, overrides, ignore_config, source)
    # A folder with a config.json alone has sizes to show; tensors are required only if --weights names it.
    filled = weights is not None or has_weights(folder)
    return list_spec(bound, folder if filled else None)


def _print_tensors(
    name: str, weights: Path | None, overrides: list[str], ignore_config: list[str], as_json: bool
) -> None:
    """Print the stored tensors of a checkpoint; a spec that does not fit is no error, but a warning."""
    from archc.archspec import ArchspecError, BoundSpec
    from archc.cli.inspect.tensors import list_tensors
    from archc.compiler.build import bind
    from archc.compiler.errors import BuildError
    from archc.compiler.weights.checkpoint.containers import read_checkpoint_config
    from archc.compiler.weights.checkpoint.folder import is_checkpoint, local_source

    place = weights or Path(name)
    if not is_checkpoint(place):
        hint = "give a checkpoint folder, or a spec and --weights DIR"
        raise UsageError(f"--tensors: {place} is no checkpoint; {hint}")
    source = local_source(place)
    folder = source.folder
    bound: BoundSpec | None = None
    fault: str | None = None
    try:
        spec = name if weights is not None else folder
        bound = bind(spec, read_checkpoint_config(folder), None, overrides, ignore_config, source)
    except (ArchspecError, BuildError) as error:
        fault = str(error)
    listing = list_tensors(folder, bound, fault)
    if listing.fault is not None:
        warn(f"the use of the tensors is unknown: {listing.fault}")
    if as_json:
        write_json(listing.as_json())
    else:
        print("\n".join(listing.lines()))


def _inspect_plan(path: Path, check: bool) -> tuple[Listing, str | None]:
    """Return the listing of a plan, and the first mismatch of its entries if `check` is set."""
    from archc.plan import Plan
    from archc.runtime.errors import PlanError

    with Plan(path) as plan:
        fault = None
        checked: dict[str, Any] = {}
        if check:
            try:
                plan.verify_hashes()
            except PlanError as error:
                fault = str(error)
            checked = {"check": {"ok": fault is None, "error": fault}}
        return _list_manifest(plan.manifest, path, {"file_bytes": path.stat().st_size, **checked}), fault


def _inspect_folder(path: Path) -> Listing:
    from archc.plan.ownership import folder_manifest

    return _list_manifest(folder_manifest(path), path, {"file_bytes": folder_bytes(path)})


def _list_manifest(manifest: Manifest, path: Path, more: dict[str, Any]) -> Listing:
    from archc.archspec import ArchspecError
    from archc.cli.inspect.collect import list_plan
    from archc.verify.plan_spec import bind_plan

    try:
        bound = bind_plan(manifest, str(path))
    except ArchspecError as error:
        bound = None
        warn(f"this archc cannot read the plan's spec, so only its tensors are shown: {error.problems[0]}")
    apart = {"tensors", "family", "topology", "parameters", "flops_per_token"}
    own = {key: value for key, value in to_builtins(manifest).items() if key not in apart}
    return list_plan(manifest, bound, {"path": str(path), **own, **more})
