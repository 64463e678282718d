"""The number of threads: CPU quotas of both cgroup versions, and the most that an option may set."""

from __future__ import annotations

import os

import pytest

from archc import runtime
from archc.runtime import EngineError
from archc.runtime.backends.threads import choose_threads, cpu_quota, usable_cores

UNLIMITED = 1 << 16
CASES = {
    "none": ({}, "0::/\n", UNLIMITED),
    "version 2": ({"cpu.max": "150000 100000"}, "0::/\n", 2),
    "version 2 without limit": ({"cpu.max": "max 100000"}, "0::/\n", UNLIMITED),
    "service": ({"system.slice/a.service/cpu.max": "200000 100000"}, "0::/system.slice/a.service\n", 2),
    "slice": (
        {"system.slice/cpu.max": "300000 100000", "system.slice/a.service/cpu.max": "max 100000"},
        "0::/system.slice/a.service\n",
        3,
    ),
    "other service": ({"system.slice/b.service/cpu.max": "200000 100000"}, "0::/system.slice/a.service\n", UNLIMITED),
    "version 1": (
        {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        "4:cpu,cpuacct:/\n3:memory:/x\n",
        3,
    ),
    "version 1 in a container": (
        {"cpu/docker/1/cpu.cfs_quota_us": "200000\n", "cpu/docker/1/cpu.cfs_period_us": "100000\n"},
        "4:cpu,cpuacct:/docker/1\n",
        2,
    ),
    "version 1 without limit": (
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        "4:cpu,cpuacct:/\n",
        UNLIMITED,
    ),
    "less than one": ({"cpu.max": "20000 100000"}, "0::/\n", 1),
    "damaged": ({"cpu.max": "many"}, "?\n", UNLIMITED),
}


@pytest.mark.parametrize("case", CASES)
def test_quotas(case, tmp_path):
    files, groups, expected = CASES[case]
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "own").write_text(groups)
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "own") == expected


def test_the_default_is_within_the_cpu_set_and_the_quota():
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
    assert choose_threads(None) == usable_cores()


def test_threads_past_the_machine_are_refused(decoder_path):
    with pytest.raises(EngineError, match=rf"threads: expected at most {os.cpu_count()}, .* got 100000"):
        runtime.load(decoder_path, threads=100_000)
