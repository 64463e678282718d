"""`archc inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import to_builtins

from archc.cli.commands.options import Json, Set, Size
from archc.cli.console import UsageError, columns, note, warn, write_error, write_json

if TYPE_CHECKING:
    from archc.models import Listing
    from archc.plan import Manifest

_SPEC_SUFFIXES = (".yaml", ".yml")


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SPEC|PLAN|DIR", help="A spec, a plan, or a checkpoint's or ONNX folder.", show_default=False
        ),
    ],
    size: Size = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="DIR", help="A checkpoint's folder: its sizes, and where each tensor is."),
    ] = None,
    overrides: Set = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare every entry of a plan with its SHA-256; exit 1 where one differs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the modules and tensors of a model.

    Every tensor with its shape and count; memory, and operations for each token. Of a plan also its inputs,
    outputs, state, limits and entries. A spec without default sizes is shown at the first of its named sizes.
    """
    path = Path(what)
    is_folder = path.is_dir() and (path / "manifest.json").is_file() and (path / "model.onnx").is_file()
    if is_folder or (path.is_file() and path.suffix not in _SPEC_SUFFIXES):
        for option, value in (("--size", size), ("--weights", weights), ("--set", overrides)):
            if value:
                raise UsageError(f"{option} has no effect on a plan, whose sizes are fixed")
        if is_folder and check:
            raise UsageError("--check has no effect on an ONNX folder, which holds no hashes")
        listing, fault = (_inspect_folder(path), None) if is_folder else _inspect_plan(path, check)
    else:
        if check:
            raise UsageError("--check has no effect on a spec: it is for plans (archc check SPEC checks a spec)")
        if not path.exists() and path.suffix == ".plan":
            raise UsageError(f"{what}: there is no such file")
        listing, fault = _inspect_spec(what, size, weights, overrides or []), None
    if as_json:
        write_json(listing.as_json())
    else:
        print("\n".join([*listing.lines(), *_plan_lines(listing.more)]))
    if fault is not None:
        write_error(fault)
        raise typer.Exit(1)


def _inspect_spec(what: str, size: str | None, weights: Path | None, overrides: list[str]) -> Listing:
    from archc.archspec import load_spec
    from archc.models import bind_some_size, list_spec

    folder = weights or (Path(what) if Path(what).is_dir() else None)
    if folder is None:
        bound = bind_some_size(load_spec(what, overrides), size)
        if bound.size is not None and size is None:
            note(
                f"{bound.family} has no default sizes, so this is {bound.size}; name another with --size, or --weights"
            )
        return list_spec(bound, None)
    from archc.compiler.build import bind
    from archc.compiler.weights.checkpoint.folder import read_folder_config

    if not folder.is_dir():
        raise UsageError(f"--weights {folder}: no such folder")
    bound = bind(what, read_folder_config(folder), size, overrides)
    # A folder with nothing but a config.json has sizes to show; one that --weights names is asked for its tensors.
    filled = weights is not None or any(folder.glob("*.safetensors"))
    return list_spec(bound, folder if filled else None)


def _inspect_plan(path: Path, check: bool) -> tuple[Listing, str | None]:
    """The plan, and what is wrong with its entries where they were to be checked."""
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
    from archc.plan.manifest import parse_manifest

    manifest = parse_manifest((path / "manifest.json").read_bytes(), str(path))
    written = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return _list_manifest(manifest, path, {"file_bytes": written})


def _list_manifest(manifest: Manifest, path: Path, more: dict[str, Any]) -> Listing:
    from archc.archspec import ArchspecError
    from archc.models import bind_plan, list_plan

    try:
        bound = bind_plan(manifest, str(path))
    except ArchspecError as error:
        bound = None
        warn(f"the plan's spec is not one that this archc reads, so only its tensors are shown: {error.problems[0]}")
    apart = {"tensors", "family", "topology", "parameters", "flops_per_token"}
    own = {key: value for key, value in to_builtins(manifest).items() if key not in apart}
    return list_plan(manifest, bound, {"path": str(path), **own, **more})


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    """What a plan has beyond its model."""
    if not plan:
        return []
    tokens, limits = plan["tokens"], plan["limits"]
    signature = [("INPUT", "ROLE", "DTYPE", "SHAPE")]
    signature += [(i["name"], _role(i), i["dtype"], _shape(i["shape"])) for i in plan["inputs"]]
    signature.append(("OUTPUT", "ROLE", "DTYPE", "SHAPE"))
    signature += [(o["name"], o["role"], o["dtype"], _shape(o["shape"])) for o in plan["outputs"]]
    if plan["encoder"] is not None:
        encoder = plan["encoder"]
        signature += [(i["name"], f"encoder's {_role(i)}", i["dtype"], _shape(i["shape"])) for i in encoder["inputs"]]
        signature += [(o["name"], f"encoder's {o['role']}", o["dtype"], _shape(o["shape"])) for o in encoder["outputs"]]
    if plan["state"]:
        signature.append(("STATE", "KIND", "DTYPE", "SHAPE"))
        signature += [(s["input"], s["kind"], s["dtype"], _shape(s["shape"])) for s in plan["state"]]
    entries = [(name, f"{entry['bytes']:,}", entry["sha256"]) for name, entry in plan["entries"].items()]
    lines = [
        "",
        f"plan {plan['path']}: {plan['file_bytes']:,} bytes, format {plan['format']}, by archc {plan['archc']}",
        f"target {plan['target']}, dtype {plan['dtype']}, quantization {plan['quantization'] or 'none'}",
        f"at most {limits['max_seq_len']:,} tokens of {limits['vocab_size']:,} ids; "
        f"begin {_ids(tokens['bos'])}, end {_ids(tokens['eos'])}, pad {_ids(tokens['pad'])}",
        *_answer_lines(plan),
        *_engine_lines(plan),
        "built with " + ", ".join(f"{name} {text}" for name, text in plan["builder"].items()),
        "",
        *columns(None, signature),
    ]
    if entries:
        lines += ["", *columns(("ENTRY", "BYTES", "SHA-256"), entries, right=(1,))]
    if plan.get("check", {}).get("ok"):
        lines.append("checked: every entry has its SHA-256")
    return lines


def _answer_lines(plan: dict[str, Any]) -> list[str]:
    """How an encoder-decoder answers a source."""
    if plan["encoder"] is None:
        return []
    limits, tokens = plan["encoder"]["limits"], plan["tokens"]
    return [
        f"a source has at most {limits['max_seq_len']:,} tokens of {limits['vocab_size']:,} ids; "
        f"an answer begins with {_ids(tokens['start'])}, and never holds {_ids(tokens['never'])}"
    ]


def _engine_lines(plan: dict[str, Any]) -> list[str]:
    """Who built an engine, for which devices, the sizes that a call may have, and what it writes in place."""
    lines = []
    for engine in (plan["engine"], (plan["encoder"] or {}).get("engine")):
        if engine is None:
            continue
        devices = ", ".join(engine["compute_capabilities"])
        streamed = ", its weights streamed from host memory" if engine["weight_streaming"] else ""
        size = plan["entries"][engine["file"]]["bytes"]
        lines.append(
            f"{engine['file']}: {size:,} bytes by {engine['builder']} {engine['version']} for compute capability "
            f"{devices}, with the weights in {plan['dtype']}{_in_fewer_bits(plan)}{streamed}"
        )
        for profile in engine["profiles"]:
            sizes = ", ".join(f"{axis} {least} to {most}" for axis, (least, _, most) in profile["axes"].items())
            lines.append(f"  {profile['name']}: {sizes}")
        if engine["aliased"]:
            pairs = [f"{given} as {made}" for given, made in engine["aliased"]]
            shown = pairs if len(pairs) < 3 else [pairs[0], "…", pairs[-1]]
            lines.append(f"  in place, {len(pairs)} caches of {engine['capacity']:,} slots: {', '.join(shown)}")
    return lines


def _in_fewer_bits(plan: dict[str, Any]) -> str:
    return f" and {plan['quantization']}" if plan["quantization"] else ""


def _role(item: dict[str, Any]) -> str:
    mask = item["mask"]
    if mask is None:
        return str(item["role"])
    return f"{mask['kind']} mask" + (f", window {mask['window']}" if mask["window"] else "")


def _shape(shape: list[int | str]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _ids(value: int | tuple[int, ...] | None) -> str:
    ids = value if isinstance(value, tuple) else [] if value is None else [value]
    return ",".join(map(str, ids)) or "none"
