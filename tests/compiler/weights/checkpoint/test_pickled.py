"""Files of torch.save, from the genuine writer: every tensor equals the source bit for bit."""

from __future__ import annotations

import re
import shutil
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.checkpoint.pickled import strided
from tests.compiler.weights.checkpoint.pickles import BIN, shards

EXAMPLE = Path(__file__).parents[4] / "examples" / "tiny-qwen2"
FORMS = [
    pytest.param(
        partial(torch.save, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip"),
        id=f"{form}-{protocol}",
    )
    for form in ("zip", "legacy")
    for protocol in (2, 3, 4, 5)
]
Save = Callable[[Any, Path], None]


def odd_tensors() -> dict[str, torch.Tensor]:
    """Tensors of every dtype, and every way to lie in a storage."""
    base = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    with_state = torch.nn.Parameter(base[1].clone())
    with_state.note = "an attribute of its own"  # type: ignore[attr-defined]
    return {
        "base": base,
        "tied": base,
        "transposed": base.t(),
        "view": base[3:9, 1:4],
        "permuted": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        "parameter": torch.nn.Parameter(base[:3].clone()),
        "with_state": with_state,
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "nan": torch.tensor([float("nan"), float("-inf"), -0.0]),
        **{
            str(dtype).removeprefix("torch."): base[:4].to(dtype)
            for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
        },
        **{
            str(dtype).removeprefix("torch."): torch.arange(9).reshape(3, 3).to(dtype)
            for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool)
        },
    }


def raw(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())


def assert_equal(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    weights = open_weights(folder)
    assert list(weights.names()) == list(tensors)
    for name, tensor in tensors.items():
        assert weights.shape(name) == tuple(tensor.shape)
        assert weights.bytes(name) == tensor.numel() * tensor.itemsize
        read = weights.read(name)
        assert (read.dtype, read.shape, raw(read)) == (tensor.dtype, tensor.shape, raw(tensor)), name


@pytest.mark.parametrize("save", FORMS)
def test_every_tensor_equals_its_source(save: Save, tmp_path: Path) -> None:
    tensors = odd_tensors()
    save(OrderedDict(tensors), tmp_path / BIN)
    assert_equal(tmp_path, tensors)


@pytest.mark.parametrize("save", FORMS)
def test_the_state_of_a_module(save: Save, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    save(module.state_dict(), tmp_path / "weights.pt")
    assert_equal(tmp_path, module.state_dict())


@pytest.mark.parametrize(
    "keys", [("model",), ("state_dict",), ("module",), ("model_state_dict",), ("state_dict", "model")], ids="-".join
)
def test_the_state_of_a_training_script(keys: tuple[str, ...], tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 4)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(3)).sum().backward()
    optimizer.step()
    state: Any = module.state_dict()
    for key in reversed(keys):
        state = {"iteration": 7, "optimizer": optimizer.state_dict(), key: state, "loss": [1.5, None, {1, 2}, b"\xff"]}
    torch.save(state, tmp_path / "checkpoint.pt")
    assert_equal(tmp_path, module.state_dict())


def test_dtypes_have_the_names_of_safetensors(tmp_path: Path) -> None:
    torch.save(odd_tensors(), tmp_path / BIN)
    weights = open_weights(tmp_path)
    names = ("base", "float16", "bfloat16", "float8_e4m3fn", "int64", "uint16", "bool")
    assert [weights.dtype(name) for name in names] == ["F32", "F16", "BF16", "F8_E4M3", "I64", "U16", "BOOL"]
    weights.check_numbers(["base", "float64", "float16", "bfloat16"])
    with pytest.raises(BuildError, match="'int64' has dtype I64, expected one of F64, F32, F16, BF16"):
        weights.check_numbers(["base", "int64"])


@pytest.mark.parametrize("save", FORMS[::4])
def test_a_part_is_read_at_a_place(save: Save, tmp_path: Path) -> None:
    base = torch.arange(60.0).reshape(3, 4, 5)
    tensors = {"plain": base, "permuted": base.permute(2, 0, 1), "narrow": base[:, 1:3, ::2]}
    save(tensors, tmp_path / BIN)
    weights = open_weights(tmp_path)
    for name, tensor in tensors.items():
        for place in ((1,), (slice(1, 3),), (2, slice(0, 1)), (slice(1, 2), 1), (0, 1, 2), (slice(0, 0),)):
            assert torch.equal(weights.read(name, place), tensor[place]), (name, place)
        for place in ((9,), (slice(2, 9),), (0, 9), (0, 0, 0, 0)):
            with pytest.raises(ValueError, match="out of bounds for axes"):
                weights.read(name, place)


def test_a_view_with_gaps_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = torch.randn(64, 48, generator=torch.Generator().manual_seed(2))
    tensors = {"transposed": base.t(), "columns": base[:, 7], "every_third": base[::3, ::5].t()}
    torch.save(tensors, tmp_path / BIN)
    monkeypatch.setattr(strided, "_SPAN_BYTES", 500)
    sizes = []
    plain = strided.read_into

    def spy(file: Any, offset: int, buffer: torch.Tensor) -> None:
        sizes.append(len(buffer))
        plain(file, offset, buffer)

    monkeypatch.setattr(strided, "read_into", spy)
    assert_equal(tmp_path, tensors)
    assert max(sizes) <= 500


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    torch.save({str(number): torch.zeros(2**20) for number in range(16)}, tmp_path / BIN)
    tracemalloc.start()
    weights = open_weights(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(weights.names()) == 16
    assert peak < 2**20


def test_shards_by_an_index(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "one.bin")
    torch.save({"b": torch.zeros(3)}, tmp_path / "two.bin")
    shards(tmp_path, {"a": "one.bin", "b": "two.bin"})
    assert_equal(tmp_path, {"a": torch.ones(2), "b": torch.zeros(3)})
    for file, message in (("../one.bin", "same folder"), ("one.json", ".bin or .pth or .pt"), ("no.bin", "not found")):
        shards(tmp_path, {"a": file, "b": "two.bin"})
        with pytest.raises(BuildError, match=re.escape(message)):
            open_weights(tmp_path)
    shards(tmp_path, {"a": "one.bin", "b": "one.bin"})
    with pytest.raises(
        BuildError, match=r"the index maps tensor 'b' to 'one\.bin', but that shard does not contain it"
    ):
        open_weights(tmp_path)


@pytest.mark.parametrize("name", ["checkpoint.pt", "RWKV-x060.pth", "weights.bin"])
def test_one_file_of_another_name(name: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / name)
    for other in ("optimizer.pt", "training_args.bin", "rng_state_0.pth", "scheduler.pt"):
        (tmp_path / other).write_bytes(b"of a training script")
    assert_equal(tmp_path, {"a": torch.ones(2)})


def test_several_files_without_an_index(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        torch.save({"a": torch.ones(2)}, tmp_path / name)
    with pytest.raises(
        BuildError, match=r"2 bin files \(a\.bin, b\.bin\), but pytorch_model\.bin\.index\.json not found"
    ):
        open_weights(tmp_path)


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "model.safetensors", tmp_path)
    (tmp_path / BIN).write_bytes(b"not read")
    assert set(open_weights(tmp_path).names()) == set(load_file(EXAMPLE / "model.safetensors"))


@pytest.mark.parametrize("save", FORMS[::4])
def test_a_build_from_pickles_equals_the_build_from_safetensors(save: Save, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    save(load_file(EXAMPLE / "model.safetensors"), folder / BIN)
    expected = build(EXAMPLE, out=tmp_path / "safetensors.plan").read_bytes()
    assert build(folder, out=tmp_path / "pickled.plan").read_bytes() == expected


def test_a_file_that_changes_under_the_reader(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / BIN)
    weights = open_weights(tmp_path)
    torch.save({"a": torch.ones(200)}, tmp_path / BIN)
    with pytest.raises(BuildError, match=f"{BIN}: changed during the build; build again"):
        weights.read("a")
    (tmp_path / BIN).unlink()
    with pytest.raises(BuildError, match=f"{BIN}: tensor 'a' cannot be read"):
        weights.read("a")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(torch.ones(2), "no tensors by name, but a single tensor", id="tensor"),
        pytest.param([torch.ones(2)], "no tensors by name, but no table", id="list"),
        pytest.param({"weights": {"a": torch.ones(2)}}, "with the keys 'weights'; save model.state_dict()", id="key"),
        pytest.param({}, "a table with the keys none", id="empty"),
        pytest.param(torch.nn.Linear(2, 3), "the pickle has 'torch.nn.modules.linear.Linear'", id="module"),
        pytest.param({"a": torch.ones(2).to_sparse()}, "'torch._utils._rebuild_sparse_tensor'", id="sparse"),
        pytest.param({"a": torch.ones(2, device="meta")}, "_rebuild_meta_tensor_no_storage'", id="meta"),
        pytest.param({"a": torch.ones(2), "path": Path("x")}, "'pathlib", id="path"),
    ],
)  # fmt: skip
def test_values_that_are_no_table_of_tensors(value: Any, message: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / BIN)
    with pytest.raises(BuildError, match=re.escape(message)):
        open_weights(tmp_path)


def test_an_expanded_tensor_is_not_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(2**40), "b": torch.ones(2)}, tmp_path / BIN)
    weights = open_weights(tmp_path)
    assert weights.read("b").tolist() == [1, 1]
    for use in (lambda: weights.read("a"), lambda: weights.check_numbers(["a"])):
        with pytest.raises(
            BuildError, match=r"tensor 'a' \[1099511627776\] repeats elements of its storage; save a copy"
        ):
            use()


def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt")
    with zipfile.ZipFile(tmp_path / "weights.pt", "a") as archive:
        archive.writestr("weights/constants.pkl", b"")
    with pytest.raises(BuildError, match="TorchScript is not supported; save the state_dict"):
        open_weights(tmp_path)
