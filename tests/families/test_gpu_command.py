"""`python -m tests.gpu` itself, as far as a machine without a GPU can try it."""

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


def test_without_a_gpu_it_says_so_and_succeeds_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_gpu", lambda: None)
    assert command.main([]) == 2
    assert command.main(["--targets", "tensorrt"]) == 2
    assert command.main(["--if-present"]) == 0
    assert capsys.readouterr().err.splitlines() == ["there is no GPU here: nothing was run"] * 3


def test_engines_for_rtx_are_not_tried_on_other_gpus() -> None:
    targets, reasons = targets_here(Gpu("some GPU", "9.0", "1 MiB"))
    assert "tensorrt-rtx" not in targets
    assert "compute capability is 9.0" in reasons["tensorrt-rtx"]
    assert "tensorrt-rtx" in targets_here(Gpu("some GPU", "8.9", "1 MiB"))[0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare("llama", ["ort-cpu", "nowhere"], ["float32"], tmp_path_factory.mktemp("gpu"))


def test_a_right_engine_passes_and_a_wrong_one_fails(prepared: Prepared) -> None:
    (right,) = check(prepared, ["ort-cpu"], ["float32"])
    assert right.passed
    assert 0 < right.worst < 1e-4
    wanted = {"logits": np.array(prepared.wanted["logits"])}
    wanted["logits"][0, 2, 5] += 3e-4
    (wrong,) = check(Prepared(**{**vars(prepared), "wanted": wanted}), ["ort-cpu"], ["float32"])
    assert not wrong.passed
    assert not wrong.problem


def test_what_cannot_be_built_or_loaded_is_a_row_of_its_own(prepared: Prepared, tmp_path: Path) -> None:
    (refused,) = check(prepared, ["nowhere"], ["float32"])
    assert not refused.passed
    assert "'nowhere' is not known" in refused.problem
    broken = tmp_path / "p"
    broken.write_bytes(b"no plan")
    (row,) = check(Prepared(**{**vars(prepared), "plans": {("ort-cpu", "float32"): broken}}), ["ort-cpu"], ["float32"])
    assert not row.passed
    assert "not an engine.plan" in row.problem
    (row,) = check(prepare("nobody", ["ort-cpu"], ["float32"], tmp_path), ["ort-cpu"], ["float32"])
    assert not row.passed
    assert "IndexError" in row.problem


def test_engines_are_for_the_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "device_capability", lambda: "7.5")
    assert parity.engine_options("tensorrt-rtx", 2).compute_capabilities == ("7.5",)
    assert parity.engine_options("tensorrt").compute_capabilities == ()


def test_what_hangs_is_given_up() -> None:
    """It ends with the whole process, so it has one of its own here."""
    waiting = (
        "import time; from tests.gpu import __main__ as command; "
        "command._parity, command._GRACE = lambda *given: time.sleep(600), 1.0; "
        "command.main('--targets ort-cpu --no-speed --budget 0'.split())"
    )
    done = subprocess.run([sys.executable, "-c", waiting], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert "out of time: what runs now does not come to an end" in done.stdout
