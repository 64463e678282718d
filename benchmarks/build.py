"""Time and peak memory of building a plan, as a process of its own: python benchmarks/build.py SPEC --weights DIR.

The limit is one copy of the weights: bytes read and written over the disk's speed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("spec")
    options.add_argument("--weights")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("more", nargs="*", help="more options of archc build, after --")
    given = options.parse_args()
    seconds, peaks, size = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "engine.plan"
        weights = ["--weights", given.weights] if given.weights else []
        command = [sys.executable, "-m", "archc", "build", given.spec, *weights, "-o", str(out), *given.more]
        for _ in range(given.rounds):
            begin = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{' '.join(command)} failed")
            seconds.append(time.perf_counter() - begin)
            peaks.append(usage.ru_maxrss // 1024)
            size = out.stat().st_size
        data, copy = os.urandom(1 << 20), Path(folder) / "copy"
        begin = time.perf_counter()
        with copy.open("wb") as file:
            for _ in range(size >> 20):
                file.write(data)
            os.fsync(file.fileno())
        limit = time.perf_counter() - begin
    print(f"{size:,} bytes; build {statistics.median(seconds):.1f} s, peak {statistics.median(peaks)} MiB")
    print(f"writing as many bytes alone takes {limit:.1f} s")


if __name__ == "__main__":
    main()
