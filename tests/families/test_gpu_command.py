"""The command `python -m tests.gpu`, as far as a machine without a GPU can run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.gpu import __main__ as command
from tests.gpu import parity
from tests.gpu.machine import Gpu, targets_here
from tests.gpu.parity import Prepared, check, prepare


def test_without_a_gpu_the_exit_code_is_2_or_0_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_gpu", lambda: None)
    assert command.main([]) == 2
    assert command.main(["--targets", "tensorrt"]) == 2
    assert command.main(["--if-present"]) == 0
    assert capsys.readouterr().err.splitlines() == ["no GPU found: nothing was run"] * 3


def test_tensorrt_rtx_runs_on_rtx_gpus_only() -> None:
    targets, reasons = targets_here(Gpu("some GPU", "9.0", "1 MiB"))
    assert "tensorrt-rtx" not in targets
    assert "compute capability is 9.0" in reasons["tensorrt-rtx"]
    assert "tensorrt-rtx" in targets_here(Gpu("some GPU", "8.9", "1 MiB"))[0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare("llama", ["ort-cpu", "nowhere"], ["float32"], tmp_path_factory.mktemp("gpu"))


def test_a_correct_engine_passes_and_a_wrong_one_fails(prepared: Prepared) -> None:
    (correct,) = check(prepared, ["ort-cpu"], ["float32"])
    assert correct.passed
    assert 0 < correct.worst < 1e-4
    reference = {"logits": np.array(prepared.reference["logits"])}
    reference["logits"][0, 2, 5] += 3e-4
    (wrong,) = check(Prepared(**{**vars(prepared), "reference": reference}), ["ort-cpu"], ["float32"])
    assert not wrong.passed
    assert not wrong.problem


def test_a_failed_build_or_load_is_a_row_of_the_table(prepared: Prepared, tmp_path: Path) -> None:
    (refused,) = check(prepared, ["nowhere"], ["float32"])
    assert not refused.passed
    assert "'nowhere' is unknown" in refused.problem
    broken = tmp_path / "p"
    broken.write_bytes(b"no plan")
    (row,) = check(Prepared(**{**vars(prepared), "plans": {("ort-cpu", "float32"): broken}}), ["ort-cpu"], ["float32"])
    assert not row.passed
    assert "not an engine.plan" in row.problem
    (row,) = check(prepare("nobody", ["ort-cpu"], ["float32"], tmp_path), ["ort-cpu"], ["float32"])
    assert not row.passed
    assert "IndexError" in row.problem


def test_engines_are_built_for_the_present_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "device_capability", lambda: "7.5")
    assert parity.engine_options("tensorrt-rtx", 2).compute_capabilities == ("7.5",)
    assert parity.engine_options("tensorrt").compute_capabilities == ()


def test_a_run_that_hangs_is_ended_after_its_budget() -> None:
    # The timer ends the whole process, so the command runs in a child process.
    hanging = (
        "import time; from tests.gpu import __main__ as command; "
        "command._parity, command._GRACE = lambda *args: time.sleep(600), 1.0; "
        "command.main('--targets ort-cpu --no-speed --budget 0'.split())"
    )
    done = subprocess.run([sys.executable, "-c", hanging], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert "out of time: the current step does not end" in done.stdout
