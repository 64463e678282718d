"""BlinkDL's .pth files, which have no config.json: logits are those of the package rwkv, which runs such files."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rwkv
import torch
from torch import Tensor

from archc.compiler.build import build
from archc.plan import Plan
from archc.runtime.engine import load
from tests.reference.rwkv4 import original
from tests.reference.rwkv4 import rwkv as rwkv4
from tests.reference.rwkv5 import Rwkv5
from tests.reference.rwkv6 import Rwkv6
from tests.reference.rwkv7 import Rwkv7

IDS = [1, 17, 40, 3, 55, 9, 9, 30, 61, 2, 80]
FILES: dict[str, Callable[[], dict[str, Tensor]]] = {
    "rwkv4": lambda: original(rwkv4(1, intermediate_size=56, layers=7).model.state_dict()),
    "rwkv5": lambda: Rwkv5(1, width=128, inner=128, head=64, layers=2).weights,
    "rwkv6": lambda: Rwkv6(1, width=128, inner=128, head=64, rank=6, layers=2).weights,
    "rwkv7": lambda: Rwkv7(1, width=128, head=64, rank=6, layers=3).weights,
    "rwkv7-spare": lambda: spare(Rwkv7(2, width=128, head=64, rank=5, layers=2, spare=True)),
}


def spare(reference: Rwkv7) -> dict[str, Tensor]:
    """Return the tensors of a file with unused value paths in the first layer."""
    return {**reference.weights, **reference.buffers}


@pytest.fixture(scope="module")
def package() -> Iterator[Callable[[bool], Any]]:
    """Return the class of the package that runs RWKV-4 to 6, or 7; an environment variable selects it at import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RWKV_JIT_ON", "0")

        def find(is_seven: bool) -> Any:
            patch.setenv("RWKV_V7_ON", "1" if is_seven else "0")
            return _import(f"rwkv_model_{is_seven}").RWKV

        yield find


def _import(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(rwkv.__path__[0]) / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FILES)
def test_logits_equal_those_of_the_package(
    name: str, tmp_path: Path, package: Callable[[bool], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.pth"
    torch.save(FILES[name](), file)
    with pytest.warns(UserWarning, match="no tokenizer file found.*--tokenizer"):
        plan = build(file, out=tmp_path / "engine.plan")
    is_seven = name.startswith("rwkv7")
    # The package adds the ending of RWKV-7's files itself.
    model = package(is_seven)(str(file.with_suffix("") if is_seven else file), "cpu fp32")
    with torch.no_grad():
        expected = model.forward(list(IDS), None, full_output=True)[0].numpy()
    capsys.readouterr()
    with Plan(plan) as opened:
        assert opened.manifest.family == name.partition("-")[0]
    np.testing.assert_allclose(load(plan).logits([IDS])[0], expected, atol=1e-4, rtol=0)
