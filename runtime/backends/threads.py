"""The number of threads: its default, and the most that an option may set."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from archc.runtime.errors import EngineError

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_UNLIMITED = 1 << 16


def choose_threads(threads: int | None) -> int:
    """Return the CPU threads of one call; raise EngineError for a number below 1 or above the machine's CPUs."""
    if threads is None:
        return usable_cores()
    most = os.cpu_count() or 1
    if threads < 1:
        raise EngineError(f"threads: expected at least 1, or None for one per physical core, got {threads}")
    if threads > most:
        raise EngineError(f"threads: expected at most {most}, the CPUs of this machine, got {threads}")
    return threads


def usable_cores() -> int:
    """Return the number of physical cores in this process's CPU set, without SMT siblings and within its quota."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), cpu_quota()))


def _siblings(cpu: int) -> str:
    """Return the CPUs on this one's core, as the kernel lists them, or the CPU if it lists none."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def cpu_quota(root: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Return the smallest CPU quota of the process's cgroup and of those above it, rounded up.

    `root` is the mount point of cgroup version 2, or of the controllers of version 1; `own` lists the process's groups.
    """
    return min((_quota_of(folder) for folder in _folders(root, own)), default=_UNLIMITED)


def _folders(root: Path, own: Path) -> Iterator[Path]:
    """Yield the folders that may limit the process's CPU time."""
    yield from (root, root / "cpu", root / "cpu,cpuacct")
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        names = controllers.split(",")
        if controllers and "cpu" not in names:
            continue
        group = Path(path.lstrip("/"))
        for mount in (root,) if not controllers else (root / "cpu", root / controllers):
            # Slices above a service may have a quota as well.
            yield from (mount / part for part in (group, *group.parents))


def _quota_of(folder: Path) -> int:
    """Return the number of CPUs of a cgroup's quota, rounded up, of version 2 or of version 1."""
    try:
        limit, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return _UNLIMITED
    if not limit.isdecimal() or not period.isdecimal() or int(period) == 0:
        return _UNLIMITED  # "max" or -1
    return max(1, math.ceil(int(limit) / int(period)))
