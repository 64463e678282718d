"""Hub repositories, from a local server that speaks the hub's protocol: what is fetched, when, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from archc.archspec import ArchspecError
from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint import hub
from archc.compiler.weights.checkpoint.adapters import AdapterOption
from archc.compiler.weights.checkpoint.folder import find_checkpoint
from archc.compiler.weights.checkpoint.hub import Repository, choose_small_files, choose_weights, fetch_config
from tests.archc.conftest import TINY
from tests.compiler.weights.checkpoint.gguf_architectures import ARCHITECTURES
from tests.compiler.weights.checkpoint.gguf_files import write
from tests.compiler.weights.checkpoint.hub_server import HubServer

NAME = "owner/tiny"
TEXT = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}
# Files of published repositories that no build reads.
BESIDE = (
    "original/consolidated.00.pth",
    "consolidated.safetensors",
    "metal/model.bin",
    "onnx/model.onnx",
    "model-q4_0.gguf",
    "pytorch_model.bin",
    "tf_model.h5",
    "flax_model.msgpack",
    "modeling_tiny.py",
    "training_args.bin",
    "README.md",
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    started = HubServer()
    # The setting HF_ENDPOINT is read when the library is imported.
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, started.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", started.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**14)  # a connection that breaks loses less than a chunk
    monkeypatch.setattr(hub, "_TIMEOUT", 1.0)
    yield started
    started.close()


@pytest.fixture
def published(server: HubServer, tmp_path: Path) -> Path:
    """Return the folder of a repository with a checkpoint, and the files that others have next to it."""
    folder = tmp_path / "published"
    shutil.copytree(TINY, folder)
    for name in BESIDE:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not to be fetched")
    server.add(NAME, folder)
    return folder


def split(folder: Path) -> None:
    """Replace the single file of weights by two shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-{part}-of-00002.safetensors" for part in ("00001", "00002")]
    table = {name: names[index % 2] for index, name in enumerate(sorted(tensors))}
    for shard in names:
        save_file({name: tensors[name] for name in tensors if table[name] == shard}, folder / shard)
    index = json.dumps({"metadata": {}, "weight_map": table})
    (folder / "model.safetensors.index.json").write_text(index, "utf-8")


def test_only_what_a_build_reads_is_fetched(server: HubServer, published: Path, tmp_path: Path) -> None:
    plan = build(NAME, out=tmp_path / "a.plan")
    own = {file.name for file in TINY.iterdir() if file.suffix in (".json", ".jinja", ".safetensors")}
    assert set(server.requests) == own
    assert server.requests[-1] == "model.safetensors"
    assert plan.read_bytes() == build(TINY, out=tmp_path / "b.plan").read_bytes()


def test_the_shards_of_an_index(server: HubServer, published: Path, tmp_path: Path) -> None:
    split(published)
    (published / "model-00003-of-00003.safetensors").write_bytes(b"of an older upload")
    snapshot = fetch_config(NAME)
    assert not [name for name in server.requests if name.endswith(".safetensors")]
    snapshot.fetch_weights()
    fetched = {name for name in server.requests if name.endswith(".safetensors")}
    assert fetched == {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert build(snapshot.folder, out=tmp_path / "a.plan").is_file()


def test_a_config_that_does_not_bind_is_refused_before_the_weights(
    server: HubServer, published: Path, tmp_path: Path
) -> None:
    config = json.loads((published / "config.json").read_text("utf-8")) | {"hidden_act": "unheard-of"}
    (published / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ArchspecError, match="unheard-of"):
        build(NAME, out=tmp_path / "a.plan")
    assert "config.json" in server.requests
    assert "model.safetensors" not in server.requests


@pytest.mark.parametrize("breaks", [1, 3])
def test_a_broken_connection_is_resumed(server: HubServer, published: Path, breaks: int) -> None:
    server.broken["model.safetensors"] = breaks
    folder = find_checkpoint(NAME)
    assert (folder / "model.safetensors").read_bytes() == (TINY / "model.safetensors").read_bytes()
    starts = [start for file, start in server.ranges if file == "model.safetensors"]
    assert len(starts) == breaks + 1
    assert starts == sorted(set(starts))


def test_a_download_that_failed_is_completed_by_the_next_build(server: HubServer, published: Path) -> None:
    server.stalled.add("model.safetensors")
    begin = time.monotonic()
    with pytest.raises(BuildError, match=r"the download from the hub failed: .*; check the connection and run"):
        find_checkpoint(NAME)
    assert time.monotonic() - begin < 30
    server.stalled.clear()
    before = len(server.requests)
    assert (find_checkpoint(NAME) / "model.safetensors").stat().st_size == (TINY / "model.safetensors").stat().st_size
    assert server.requests[before:] == ["model.safetensors"]


def test_a_revision(server: HubServer, published: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(published, older)
    config = json.loads((older / "config.json").read_text("utf-8")) | {"max_position_embeddings": 99}
    (older / "config.json").write_text(json.dumps(config), "utf-8")
    server.add(NAME, older, "v1.0")
    read = {at: json.loads((find_checkpoint(f"{NAME}{at}") / "config.json").read_text()) for at in ("", "@v1.0")}
    assert {at: config["max_position_embeddings"] for at, config in read.items()} == {"": 512, "@v1.0": 99}
    with pytest.raises(BuildError, match=r"the repository has no revision 'v2'; check the name after @"):
        find_checkpoint(f"{NAME}@v2")


def test_repositories_that_refuse(server: HubServer, published: Path) -> None:
    server.gated.add(NAME)
    with pytest.raises(BuildError, match="the repository is gated; accept its terms on the hub, and log in"):
        find_checkpoint(NAME)
    with pytest.raises(BuildError, match="no such folder, and no such repository on the hub"):
        find_checkpoint("owner/other")
    assert server.requests == []


def test_a_server_that_never_answers(server: HubServer, published: Path) -> None:
    server.stalled.add("api")
    begin = time.monotonic()
    with pytest.raises(BuildError, match="the download from the hub failed"):
        find_checkpoint(NAME)
    assert time.monotonic() - begin < 20


def test_without_a_connection_the_cache_is_read(server: HubServer, published: Path, tmp_path: Path) -> None:
    folder = find_checkpoint(NAME)
    server.close()
    assert find_checkpoint(NAME) == folder
    with pytest.raises(BuildError, match="the download from the hub failed"):
        find_checkpoint("owner/other")


UNREADABLE = {
    "gguf": (
        ["config.json", "a-Q4_0.gguf", "a-Q8_0.gguf"],
        f"only GGUF files, a-Q4_0.gguf, a-Q8_0.gguf; name the one to use, such as {NAME}:a-Q4_0.gguf",
    ),
    "tensorflow": (["config.json", "tf_model.h5"], "no weights that archc reads, only tf_model.h5"),
    "adapter": (["adapter_config.json", "adapter_model.safetensors"], "a LoRA adapter without its base model"),
    "no-weights": (["config.json", "README.md"], "no weights that archc reads, its files are README.md, config.json"),
    "several-models": (["a.safetensors", "b.safetensors"], "several weight files and no index of shards"),
    "training-state": (["config.json", "training_args.bin", "optimizer.pt"], "no weights that archc reads"),
    "empty": ([], "the repository is empty"),
}


@pytest.mark.parametrize(("files", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_said_before_the_download(
    server: HubServer, tmp_path: Path, files: list[str], message: str
) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    for name in files:
        (folder / name).write_text("{}")
    server.add(NAME, folder)
    with pytest.raises(BuildError, match=message):
        fetch_config(NAME)
    assert server.requests == []


def test_a_gguf_file_of_a_repository(server: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    (folder / "Q8_0").mkdir(parents=True)
    llama = ARCHITECTURES[0]
    write(folder / "whole.gguf", llama, llama.build())
    write(folder / "Q8_0" / "model.gguf", llama, llama.build(), parts=16)
    server.add(NAME, folder)
    expected = build(folder / "whole.gguf", out=tmp_path / "a.plan", warn=lambda message: None).read_bytes()
    for number, file in enumerate(("whole.gguf", "Q8_0/model-00001-of-00002.gguf")):
        plan = build(f"{NAME}:{file}", out=tmp_path / f"{number}.plan", warn=lambda message: None)
        assert plan.read_bytes() == expected
    assert set(server.requests) == {
        "whole.gguf",
        *(f"Q8_0/model-0000{part}-of-00002.gguf" for part in (1, 2)),
    }
    with pytest.raises(BuildError, match=f"{NAME}:other.gguf: other.gguf not found in the repository, whose GGUF"):
        find_checkpoint(f"{NAME}:other.gguf")


def test_a_shard_that_the_repository_lacks(server: HubServer, published: Path) -> None:
    split(published)
    (published / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BuildError, match=r"names the shard 'model-00002-of-00002\.safetensors', which the repository"):
        fetch_config(NAME)
    (published / "model.safetensors.index.json").write_text("[]")
    server.add(NAME, published, "damaged")
    with pytest.raises(BuildError, match="not a shard index with a weight_map"):
        fetch_config(f"{NAME}@damaged")
    assert not [name for name in server.requests if name.endswith(".safetensors")]


CONTAINERS = {
    "shards": (["model.safetensors.index.json", "model-1.safetensors", "pytorch_model.bin"], ["model-1.safetensors"]),
    "single": (["model.safetensors", "model-1.safetensors", "model.fp32.safetensors"], ["model.safetensors"]),
    "other-name": (["weights.safetensors", "pytorch_model.bin"], ["weights.safetensors"]),
    "bin": (["pytorch_model.bin", "consolidated.00.pth", "optimizer.bin"], ["pytorch_model.bin"]),
    "bin-shards": (["pytorch_model.bin.index.json", "pytorch_model-1.bin"], ["pytorch_model-1.bin"]),
    "rwkv": (["RWKV-5-World-0.4B.pth", "README.md"], ["RWKV-5-World-0.4B.pth"]),
    "mistral": (["consolidated.safetensors", "params.json"], ["consolidated.safetensors"]),
    "meta": (["consolidated.00.pth", "consolidated.01.pth"], ["consolidated.00.pth", "consolidated.01.pth"]),
    "sentence-transformers": (
        ["model.safetensors", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "onnx/model.safetensors"],
        ["model.safetensors", "2_Dense/model.safetensors"],
    ),
}


@pytest.mark.parametrize(("files", "chosen"), CONTAINERS.values(), ids=CONTAINERS)
def test_the_container_of_the_weights(files: list[str], chosen: list[str]) -> None:
    shards = {name: [file for file in files if "-1." in file] for name in files if name.endswith("index.json")}
    repository = Repository(NAME, NAME, "main", "0" * 40, dict.fromkeys(files, 1))
    assert list(choose_weights(repository, shards)) == chosen


def test_the_files_of_every_kind_of_tokenizer() -> None:
    chosen = [
        "config.json",
        "tekken.json",
        "tokenizer.model",
        "source.spm",
        "qwen.tiktoken",
        "vocab.txt",
        "merges.txt",
        "rwkv_vocab_v20230424.txt",
        "chat_template.jinja",
        "modules.json",
        "1_Pooling/config.json",
        "additional_chat_templates/tool_use.jinja",
    ]
    others = ["original/tokenizer.model", "README.md", "tokenization_x.py", "onnx/config.json", "notes.txt"]
    repository = Repository(NAME, NAME, "main", "0" * 40, dict.fromkeys([*chosen, *others], 1))
    assert sorted(choose_small_files(repository)) == sorted(chosen)


def test_an_adapter_of_the_hub(server: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    save_file({"a": torch.ones(1)}, folder / "adapter_model.safetensors")
    server.add("owner/adapter", folder)
    option = AdapterOption.parse("owner/adapter=0.5")
    assert (option.folder / "adapter_model.safetensors").is_file()
    assert option.weight == 0.5


def test_the_command_line_reads_the_endpoint_of_the_environment(
    server: HubServer, published: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "archc", "build", NAME, "-o", tmp_path / "a.plan"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.plan").is_file()
