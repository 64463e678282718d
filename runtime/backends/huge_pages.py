"""Huge pages for weights in memory, on Linux: a call that reads every weight once spends less time on addresses.

A page of 4 KB is 512 times as many entries of the page table as one of 2 MB, more than a processor keeps. Memory that
ONNX Runtime allocates for packed weights has small pages unless the system gives huge ones to all
(https://docs.kernel.org/admin-guide/mm/transhuge.html).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

HUGE = 2 << 20  # bytes
_HUGEPAGE, _COLLAPSE = 14, 25  # MADV_*: pages from now on, and those in use (Linux 6.1)


def use_huge_pages(maps: Path = Path("/proc/self/maps")) -> int:
    """Put the private memory of the process into huge pages, and return the bytes for which the system accepted that.

    Mapped files keep their pages. 0 on other systems, and where the system has no huge pages.
    """
    if not sys.platform.startswith("linux") or not maps.exists():
        return 0
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    accepted = 0
    for start, size in _regions(maps.read_text()):
        if advise(start, size, _HUGEPAGE) == 0:
            advise(start, size, _COLLAPSE)  # the kernel does so later by itself where this fails
            accepted += size
    return accepted


def _regions(maps: str) -> Iterator[tuple[int, int]]:
    """Yield start and size of the whole huge pages in each writable mapping without a file."""
    for line in maps.splitlines():
        fields = line.split()
        if len(fields) == 5 and fields[1].startswith("rw-p"):
            first, last = (int(number, 16) for number in fields[0].split("-"))
            start, end = -(-first // HUGE) * HUGE, last // HUGE * HUGE
            if end > start:
                yield start, end - start
