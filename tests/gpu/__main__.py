"""All that only a GPU can say, in one command: python -m tests.gpu.

Exit codes: 0 all passed, 1 something did not or was not reached in time, 2 there is no GPU (0 with --if-present).
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

_SPEED_TAKES = 150.0  # seconds that are left for it
_GRACE = 8.0  # and those after the budget, for the step at work to end
_DTYPES = ("float32", "float16", "bfloat16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the options ask for, print the table, and return the exit code."""
    given = _options().parse_args(arguments)
    gpu = find_gpu()
    targets, absent = targets_here(gpu)
    if given.targets:
        targets, absent = given.targets.split(","), {}
    if gpu is None and any(target != "ort-cpu" for target in targets or ["ort-cuda"]):
        print("there is no GPU here: nothing was run", file=sys.stderr)
        return 0 if given.if_present else 2
    print(f"{gpu or 'no GPU'}; targets: {', '.join(targets) or 'none'}")
    for target, why in absent.items():
        print(f"  {target}: not run, {why}")
    if not targets:
        return 1
    deadline = time.monotonic() + given.budget
    with tempfile.TemporaryDirectory() as folder:
        end = Timer(given.budget + _GRACE, _give_up, [folder])
        end.daemon = True
        end.start()
        left = deadline - (0 if given.no_speed else _SPEED_TAKES)
        good = given.no_parity or _parity(given, targets, left, Path(folder))
        if not given.no_speed:
            good &= _speed(targets, deadline, Path(folder))
        end.cancel()
    return 0 if good else 1


def _give_up(folder: str) -> None:
    """Ends the process, whatever it waits for: a GPU that hangs answers no interrupt."""
    print("out of time: what runs now does not come to an end", flush=True)
    for child in active_children():
        child.kill()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.splitlines()[0])
    options.add_argument("--if-present", action="store_true", help="exit 0 where there is no GPU")
    options.add_argument("--targets", help="of ort-cuda, tensorrt, tensorrt-rtx; ort-cpu tries the command itself")
    options.add_argument("--families", help="some of the shipped ones, with commas")
    options.add_argument("--dtypes", default=",".join(_DTYPES))
    options.add_argument("--budget", type=float, default=470, help="seconds until what is left counts as failed")
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that build plans")
    options.add_argument("--cuda-graph", action="store_true", help="also where it is not the default")
    options.add_argument("--no-speed", action="store_true")
    options.add_argument("--no-parity", action="store_true")
    return options


def _parity(given: argparse.Namespace, targets: Sequence[str], deadline: float, folder: Path) -> bool:
    from tests.gpu.parity import Row, check, prepare

    families = given.families.split(",") if given.families else list(shipped())
    dtypes = given.dtypes.split(",")
    for family in families:
        (folder / family).mkdir()
    rows = list[Row]()
    pool = ProcessPoolExecutor(given.workers, mp_context=get_context("spawn"))
    try:
        jobs = [pool.submit(prepare, family, targets, dtypes, folder / family) for family in families]
        for job in as_completed(jobs, timeout=max(1.0, deadline - time.monotonic())):
            for row in check(job.result(), targets, dtypes, given.cuda_graph or None):
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
    said = row.problem or f"{row.worst:.2e} of {row.limit:.2e}"
    return f"{row.family:16} {row.target:13} {row.dtype:9} {verdict:8} {said:.160}"


def _speed(targets: Sequence[str], deadline: float, folder: Path) -> bool:
    if time.monotonic() > deadline:
        print("speed: not reached")
        return False
    from tests.gpu.speed import FAMILY, SIZE, measure

    limit = bandwidth()
    told = f"{limit / 1e9:,.0f} GB/s measured" if limit else "no limit measured"
    print(f"speed of {FAMILY} {SIZE}, bfloat16, random weights, one sequence, tokens per second; {told}")
    print(f"{'':38} {'prefill':>10} {'decode':>10} {'of the limit':>12}")
    for speed in measure(targets, "bfloat16", folder, limit):
        share = f"{speed.share:.0%}" if speed.share is not None else ""
        print(f"{speed.way:38} {speed.prefill:10,.0f} {speed.decode:10,.0f} {share:>12}", flush=True)
        if time.monotonic() > deadline:
            print("speed: out of time")
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
