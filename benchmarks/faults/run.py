"""Faults that a server must survive: python -m benchmarks.faults.run engine.plan [NAME …].

Each part starts `archc serve` as a process of its own, does one kind of harm to it, and prints a figure; the exit code
is 1 if the server did not survive one. The plan is that of the example checkpoint, or of a small model with a
tokenizer. `--scale 0.1` makes a tenth of the requests.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults import clients, limits, malformed, million
from benchmarks.faults.server import FaultError

PARTS: dict[str, tuple[Callable[[Path, int], str], int]] = {
    "dropped": (clients.dropped, 1000),
    "malformed": (malformed.malformed_requests, 10_000),
    "prompts": (limits.prompts, 20),
    "slow": (clients.slow_readers, 20),
    "replaced": (clients.replaced, 200),
    "sigterm": (clients.ended, 60),
    "schemas": (limits.schemas, 2),
    "tokens": (million.tokens, 1_000_000),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(PARTS)}; all without names")
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in PARTS]:
        parser.error(f"{unknown[0]}: not a part; give some of {', '.join(PARTS)}")
    failed = 0
    for name in args.names or PARTS:
        function, count = PARTS[name]
        begin = time.monotonic()
        try:
            text = function(args.plan, max(1, int(count * args.scale)))
        except FaultError as error:
            failed += 1
            text = f"FAILED: {error}"
        print(f"{name} ({time.monotonic() - begin:.0f} s): {text}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
