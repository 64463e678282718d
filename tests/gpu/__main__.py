"""Parity and speed of plans on a GPU: python -m tests.gpu.

Exit codes: 0 all passed, 1 a check failed or was not reached in time, 2 no GPU found (0 with --if-present).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import Timer

from archc.archspec.source.catalog import shipped
from tests.gpu.machine import bandwidth, find_gpu, targets_here

_SPEED_SECONDS = 150.0  # reserved for the speed table
_GRACE = 8.0  # seconds after the budget for the current step to end
_DTYPES = ("float32", "float16", "bfloat16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the selected checks, print the table, and return the exit code."""
    args = _options().parse_args(arguments)
    gpu = find_gpu()
    targets, absent = targets_here(gpu)
    if args.targets:
        targets, absent = args.targets.split(","), {}
    if gpu is None and any(target != "ort-cpu" for target in targets or ["ort-cuda"]):
        print("no GPU found: nothing was run", file=sys.stderr)
        return 0 if args.if_present else 2
    print(f"{gpu or 'no GPU'}; targets: {', '.join(targets) or 'none'}")
    for target, reason in absent.items():
        print(f"  {target}: not run, {reason}")
    if not targets:
        return 1
    deadline = time.monotonic() + args.budget
    with tempfile.TemporaryDirectory() as folder:
        end = Timer(args.budget + _GRACE, _exit_late, [folder])
        end.daemon = True
        end.start()
        parity_deadline = deadline - (0 if args.no_speed else _SPEED_SECONDS)
        good = args.no_parity or _parity(args, targets, parity_deadline, Path(folder))
        if not args.no_speed:
            good &= _speed(targets, deadline, Path(folder))
        end.cancel()
    return 0 if good else 1


def _exit_late(folder: str) -> None:
    """End the process, because a call into a GPU that hangs cannot be interrupted."""
    print("out of time: the current step does not end", flush=True)
    for child in active_children():
        child.kill()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.splitlines()[0])
    options.add_argument("--if-present", action="store_true", help="exit 0 if there is no GPU")
    options.add_argument(
        "--targets", help="comma-separated: ort-cuda, tensorrt, tensorrt-rtx; ort-cpu tests this command"
    )
    options.add_argument("--families", help="comma-separated names of shipped families; default: all")
    options.add_argument("--dtypes", default=",".join(_DTYPES))
    options.add_argument("--budget", type=float, default=470, help="seconds after which the rest counts as failed")
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that build plans")
    options.add_argument("--cuda-graph", action="store_true", help="replay CUDA graphs for every target")
    options.add_argument("--no-speed", action="store_true")
    options.add_argument("--no-parity", action="store_true")
    return options


def _parity(args: argparse.Namespace, targets: Sequence[str], deadline: float, folder: Path) -> bool:
    from tests.gpu.parity import Row, check, prepare

    families = args.families.split(",") if args.families else list(shipped())
    dtypes = args.dtypes.split(",")
    for family in families:
        (folder / family).mkdir()
    rows = list[Row]()
    pool = ProcessPoolExecutor(args.workers, mp_context=get_context("spawn"))
    try:
        jobs = [pool.submit(prepare, family, targets, dtypes, folder / family) for family in families]
        for job in as_completed(jobs, timeout=max(1.0, deadline - time.monotonic())):
            for row in check(job.result(), targets, dtypes, args.cuda_graph or None):
                rows.append(row)
                print(_line(row), flush=True)
            if time.monotonic() > deadline:
                break
    except TimeoutError:
        print("out of time")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    expected = len(families) * len(targets) * len(dtypes)
    failed = [row for row in rows if not row.passed]
    print(f"parity: {len(rows) - len(failed)} passed, {len(failed)} failed, {expected - len(rows)} not reached")
    for row in failed:
        print(f"  FAILED {_line(row)}")
    return not failed and len(rows) == expected


def _line(row: object) -> str:
    from tests.gpu.parity import Row

    assert isinstance(row, Row)
    verdict = "ok" if row.passed else "FAILED"
    result = row.problem or f"{row.worst:.2e} of {row.limit:.2e}"
    return f"{row.family:16} {row.target:13} {row.dtype:9} {verdict:8} {result:.160}"


def _speed(targets: Sequence[str], deadline: float, folder: Path) -> bool:
    if time.monotonic() > deadline:
        print("speed: not reached")
        return False
    from tests.gpu.speed import FAMILY, SIZE, measure

    limit = bandwidth()
    measured = f"{limit / 1e9:,.0f} GB/s measured" if limit else "no bandwidth measured"
    print(f"speed of {FAMILY} {SIZE}, bfloat16, random weights, one sequence, tokens per second; {measured}")
    print(f"{'':38} {'prefill':>10} {'decode':>10} {'of the limit':>12}")
    for speed in measure(targets, "bfloat16", folder, limit):
        share = f"{speed.share:.0%}" if speed.share is not None else ""
        print(f"{speed.runner:38} {speed.prefill:10,.0f} {speed.decode:10,.0f} {share:>12}", flush=True)
        if time.monotonic() > deadline:
            print("speed: out of time")
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
