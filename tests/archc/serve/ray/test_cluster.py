"""The application on a Ray cluster of three processes; needs the extra `ray`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "benchmarks" / "ray_faults.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_is_lost_when_a_replica_is_killed(qwen: Path) -> None:
    pytest.importorskip("ray.serve")
    command = [sys.executable, str(SCRIPT), str(qwen), "--conversations", "40", "--port", "8766"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=850)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "replicas killed: 1, at the end: 3" in result.stdout
    assert "lost 0, wrong 0" in result.stdout
