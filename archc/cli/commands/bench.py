"""`archc bench`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archc.cli.commands.options import Json, Plan, Threads
from archc.cli.console import UsageError, columns, progress_bar, write_json

if TYPE_CHECKING:
    from archc.bench.figures import Figure
    from archc.bench.measure import Report
    from archc.plan.manifest import Manifest

_MOST_SEQUENCES = 1024


def bench_command(
    plan: Plan,
    prompt_tokens: Annotated[
        list[int] | None,
        typer.Option("--prompt-tokens", min=1, metavar="N", help="Prompt length. Repeatable. Default: 128 and 512."),
    ] = None,
    new_tokens: Annotated[
        int | None, typer.Option("--new-tokens", min=1, metavar="N", help="Tokens to decode. Default: 32.")
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            "--batch",
            min=1,
            max=_MOST_SEQUENCES,
            metavar="N",
            help="Sequences at a time. Repeatable. Default: 1 2 4 8.",
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, metavar="N", help="Runs of each figure.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of the random token ids.")] = 0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measure the speed and memory of a plan, next to the limits of the machine.

    Prompts are random ids. Each figure is the median of several runs, with the least and the largest. A limit is the
    larger of two times: the bytes that a call must read at the measured bandwidth of memory, and its operations at the
    rate of the fastest matrix product of the plan's own types in ONNX Runtime. Other load on the machine lowers figures
    and limits; the load averages are part of the output.
    """
    from archc.bench.measure import BenchOptions, bench
    from archc.plan.reader import Plan as PlanFile

    with PlanFile(plan) as opened:
        manifest = opened.manifest
    if new_tokens is not None and manifest.topology == "encoder":
        raise UsageError(f"--new-tokens has no effect, because {manifest.family} is an encoder; remove it")
    default = BenchOptions()
    lengths = prompt_tokens or _fitting(default.prompt_tokens, manifest, new_tokens or default.new_tokens)
    options = BenchOptions(
        tuple(dict.fromkeys(lengths)),
        new_tokens or default.new_tokens,
        tuple(dict.fromkeys(batch or default.batches)),
        runs,
        threads,
        seed,
    )
    with progress_bar() as progress:
        report = bench(plan, options, progress)
    if as_json:
        write_json(_as_json(report))
    else:
        _print(report)


def _fitting(lengths: Sequence[int], manifest: Manifest, new_tokens: int) -> list[int]:
    """Return the default lengths, reduced to the plan's maximum."""
    limits = (manifest.encoder or manifest).limits
    room = limits.max_seq_len - (new_tokens + 1 if manifest.topology == "decoder" else 0)
    return [min(length, max(room, 1)) for length in lengths]


def _as_json(report: Report) -> dict[str, Any]:
    machine = report.machine
    return {
        "family": report.manifest.family,
        "target": report.manifest.target,
        "dtype": report.manifest.dtype,
        "quantization": report.manifest.quantization,
        "parameters": report.manifest.parameters,
        "weight_bytes": report.weight_bytes,
        "state_bytes_per_token": report.state_per_token,
        "state_bytes_fixed": report.state_fixed,
        "machine": {
            "threads": machine.threads,
            "device": machine.device,
            "bytes_per_s": machine.bandwidth,
            "operations_per_s": machine.product.rate if machine.product is not None else None,
            "product": machine.product.form if machine.product is not None else None,
            "load_before": machine.load_before,
            "load_after": machine.load_after,
        },
        "figures": [{**asdict(figure), "share": figure.share} for figure in report.figures],
    }


def _print(report: Report) -> None:
    manifest, machine = report.manifest, report.machine
    limits = "limits are measured on CPUs only"
    if machine.bandwidth is not None and machine.product is not None:
        limits = (
            f"{machine.bandwidth / 1e9:.1f} GB/s, {machine.product.rate / 1e9:,.0f} billion operations/s "
            f"({machine.product.form})"
        )
    print(
        f"{manifest.family}, {manifest.parameters:,} parameters, {manifest.quantization or manifest.dtype}, "
        f"{report.weight_bytes:,} bytes of weights; state: {report.state_per_token:,} bytes a token, "
        f"{report.state_fixed:,} fixed"
    )
    print(
        f"{machine.device}, {machine.threads} threads; {limits}; load average "
        f"{machine.load_before[0]:.1f} before, {machine.load_after[0]:.1f} after"
    )
    header = ("", "median", "least", "largest", "limit", "of the limit", "limited by")
    print("\n".join(columns(header, [_row(figure) for figure in report.figures], right=range(1, 6))))


def _row(figure: Figure) -> tuple[str, ...]:
    values = [_amount(value, figure.unit) for value in (figure.value, figure.least, figure.largest)]
    limit = _amount(figure.limit, figure.unit) if figure.limit is not None else "—"
    share = f"{figure.share:.1%}" if figure.share is not None else "—"
    return (figure.name, *values, limit, share, figure.bound or "")


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 2**20:,.0f} MiB"
    if unit == "s":
        return f"{value * 1e3:,.1f} ms"
    return f"{value:,.1f} {unit}"
