from __future__ import annotations

import mmap
import sys
from pathlib import Path

from archc.runtime.backends import huge_pages
from archc.runtime.backends.huge_pages import HUGE, use_huge_pages

_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def test_only_whole_huge_pages_of_private_memory_are_taken() -> None:
    lines = [
        "00400000-00800000 r-xp 00000000 fe:00 123 /usr/bin/python",
        "10000000-10800000 rw-p 00000000 fe:00 123 /data/engine.plan",
        "20001000-20801000 rw-p 00000000 00:00 0 ",
        "30000000-30100000 rw-p 00000000 00:00 0 ",
        "40000000-40800000 rw-s 00000000 00:00 0 ",
        "50000000-50400000 rw-p 00000000 00:00 0 [heap]",
    ]
    assert list(huge_pages._regions("\n".join(lines))) == [(0x20200000, 3 * HUGE)]


def test_memory_is_unchanged() -> None:
    content = bytes(range(256)) * (4 * HUGE // 256)
    with mmap.mmap(-1, len(content), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(content)
        accepted = use_huge_pages()
        assert memory[:] == content
    has_huge_pages = sys.platform.startswith("linux") and _SETTING.exists()
    assert accepted >= 3 * HUGE if has_huge_pages else accepted == 0


def test_a_system_without_a_list_of_mappings(tmp_path: Path) -> None:
    assert use_huge_pages(tmp_path / "maps") == 0
