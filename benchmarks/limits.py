"""Limits of the machine: bytes read from memory and float32 operations per second, measured at each start."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BUFFER = 1 << 28  # bytes a thread: far more than any cache
_SIZE = 1024


def memory_bandwidth(threads: int) -> float:
    """Bytes per second that `threads` threads read together; the best of five passes."""
    parts = [np.ones(_BUFFER // 4, np.float32) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            begin = time.perf_counter()
            list(pool.map(np.maximum.reduce, parts))  # sums take longer than the memory does
            best = max(best, threads * _BUFFER / (time.perf_counter() - begin))
    return best


def float32_rate() -> float:
    """Operations per second of a float32 matrix product by numpy's BLAS; the best of five."""
    a = np.ones((_SIZE, _SIZE), np.float32)
    best = 0.0
    for _ in range(5):
        begin = time.perf_counter()
        a @ a
        best = max(best, 2 * _SIZE**3 / (time.perf_counter() - begin))
    return best
