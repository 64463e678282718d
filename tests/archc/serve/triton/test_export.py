"""The model repository, and its model with a stand-in for Triton's module."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, text_format

from archc import runtime
from tests.archc.conftest import Archc
from tests.archc.serve.triton import backend, config_schema
from tests.archc.serve.triton.backend import InferenceRequest, TritonError


@pytest.fixture(scope="module")
def folder(qwen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from archc.serve.triton.export import export_triton

    return export_triton(qwen, tmp_path_factory.mktemp("models"), "tiny", slots=2, queue=1, threads=1)


@pytest.fixture(scope="module")
def config(folder: Path) -> dict[str, Any]:
    message = text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), config_schema.model_config())
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


@pytest.fixture(scope="module")
def model(folder: Path, config: dict[str, Any]) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_python_backend_utils", backend)
        spec = importlib.util.spec_from_file_location("model", folder / "1" / "model.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        model = module.TritonPythonModel()
        model.initialize({"model_config": json.dumps(config), "model_name": "tiny", "model_version": "1"})
        yield model
        model.finalize()
        sys.modules.pop("archc.serve.triton.model")


def texts(*items: str) -> np.ndarray[Any, Any]:
    return np.array([item.encode() for item in items], np.object_)


def request(**inputs: Any) -> InferenceRequest:
    arrays = dict[str, np.ndarray[Any, Any]]()
    for name, value in inputs.items():
        items = value if isinstance(value, list) else [value]
        arrays[name] = texts(*items) if isinstance(items[0], str) else np.array(items)
    return InferenceRequest(arrays)


def answer(asked: InferenceRequest) -> tuple[str, list[int], str]:
    """Wait for the end; return the text, the ids and the reason of the end."""
    assert asked.sender.has_ended.wait(60)
    parts = [{each.name(): each.as_numpy() for each in sent.output_tensors()} for sent in asked.sender.responses]
    assert not any(part["finish_reason"][0] for part in parts[:-1])
    text = b"".join(part["text"][0] for part in parts).decode()
    return text, [int(token) for part in parts for token in part["tokens"]], parts[-1]["finish_reason"][0].decode()


def error(asked: InferenceRequest) -> TritonError:
    assert asked.sender.has_ended.wait(60)
    found = asked.sender.responses[-1].error()
    assert found is not None
    return found


def test_the_repository_has_the_config_of_a_decoupled_model(folder: Path, config: dict[str, Any], qwen: Path) -> None:
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "config.pbtxt",
        "1/model.py",
        "1/engine.plan",
    }
    assert (folder / "1" / "engine.plan").read_bytes() == qwen.read_bytes()
    assert (config["name"], config["backend"], config.get("max_batch_size", 0)) == ("tiny", "python", 0)
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert config["parameters"]["slots"] == {"string_value": "2"}
    inputs = {port["name"]: port for port in config["input"]}
    assert inputs["ids"] == {"name": "ids", "data_type": "TYPE_INT64", "dims": ["-1"], "optional": True}
    assert all(port["optional"] for port in config["input"])
    assert [port["name"] for port in config["output"]] == ["text", "tokens", "finish_reason"]


def test_requests_of_every_kind_have_the_answers_of_the_engine(model: Any, qwen: Path) -> None:
    engine = runtime.load(qwen, threads=1)
    assert engine.tokenizer is not None
    ids = engine.tokenizer.encode("Once upon a time")
    (expected,) = engine.generate([ids], max_new_tokens=12, temperature=0.0)
    story = engine.tokenizer.decode(expected)
    engine.close()
    by_text = request(prompt="Once upon a time", max_tokens=12, temperature=0.0)
    by_ids = request(ids=ids, max_tokens=12)
    chat = request(messages=json.dumps([{"role": "user", "content": "What is 12+30?"}]))
    model.execute([by_text, by_ids])
    model.execute([chat])
    assert answer(by_text) == answer(by_ids) == (story, expected, "length")
    assert len(by_text.sender.responses) > 1
    assert answer(chat)[0::2] == ("42", "eos")


def test_options_reach_the_generation(model: Any) -> None:
    prompts = {"prompt": "Once upon a time", "max_tokens": 20}
    full = request(**prompts)
    model.execute([full])
    word = answer(full)[0].split()[2]
    stopped = request(**prompts, stop=["absent", word])
    sampled = [request(**prompts, temperature=1.5, top_k=20, seed=np.uint64(seed)) for seed in (3, 3, 4)]
    model.execute([stopped])
    text, _, reason = answer(stopped)
    assert reason == "stop"
    assert word not in text
    results = list[Any]()
    for each in sampled:
        model.execute([each])
        results.append(answer(each))
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({}, "expected one of prompt, messages and ids, got 0", id="none"),
        pytest.param({"prompt": "a", "ids": [1]}, "expected one of prompt, messages and ids, got 2", id="two"),
        pytest.param({"prompt": ["a", "b"]}, "prompt: expected one element, got 2", id="many"),
        pytest.param({"prompt": "a", "temperature": -1.0}, "temperature", id="temperature"),
        pytest.param({"messages": "{"}, "messages: not JSON", id="no JSON"),
        pytest.param({"messages": "[]"}, "messages: expected at least one message", id="no message"),
        pytest.param({"ids": [10**6]}, "1000000", id="large id"),
    ],
)
def test_wrong_inputs_are_errors(model: Any, inputs: dict[str, Any], message: str) -> None:
    asked = request(**inputs)
    model.execute([asked])
    found = error(asked)
    assert (message in found.message(), found.code()) == (True, TritonError.INVALID_ARG)


def test_bytes_that_are_no_text_are_an_error(model: Any) -> None:
    asked = InferenceRequest({"prompt": np.array([b"\xff"], np.object_)})
    model.execute([asked])
    assert "not valid UTF-8" in error(asked).message()


def test_a_full_queue_and_a_canceled_request_are_errors(model: Any) -> None:
    # Two slots and a queue of one; prompts of the plan's maximum are not short of time.
    asked = [request(prompt="Once", max_tokens=450, ignore_eos=True) for _ in range(5)]
    model.execute(asked)
    assert [error(each).code() for each in asked[3:]] == [TritonError.UNAVAILABLE] * 2
    for each in asked[:3]:
        each.sender.is_gone = True
    assert [error(each).code() for each in asked[:3]] == [TritonError.CANCELLED] * 3


def test_wrong_exports_are_errors(archc: Archc, qwen: Path, bert: Path, folder: Path, tmp_path: Path) -> None:
    result = archc("export-triton", qwen, "-o", folder.parent, "--name", "tiny")
    assert (result.code, result.errors) == (2, [f"{folder}: already exists; remove it, or give another --name"])
    assert "is an encoder" in archc("export-triton", bert, "-o", tmp_path).errors[0]
    assert "--name: expected letters" in archc("export-triton", qwen, "-o", tmp_path, "--name", "../x").errors[0]
    assert not list(tmp_path.iterdir())
    result = archc("export-triton", qwen, "-o", tmp_path / "new")
    assert (result.code, result.out) == (0, f"{tmp_path / 'new' / 'engine'}\n")
