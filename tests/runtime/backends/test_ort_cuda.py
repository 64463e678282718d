"""The CUDA provider in the ONNX Runtime backend, on a fake GPU."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from archc import runtime
from archc.runtime import BackendError
from tests.runtime.fakes.ort import FakeOrt
from tests.runtime.fakes.plans import greedy

PROMPTS = [[5, 6, 7], [9], [7, 8, 200, 3]]


@pytest.fixture(scope="module")
def cuda_path(tiny, tmp_path_factory):
    """The tiny decoder for ort-cuda, with the argmax in its graph."""

    def change(model, manifest):
        manifest["target"] = "ort-cuda"
        greedy(model, manifest)

    return tiny.write(tmp_path_factory.mktemp("cuda") / "engine.plan", change=change)


@pytest.fixture
def ort(monkeypatch):
    return FakeOrt(monkeypatch)


@pytest.mark.parametrize("cuda_graph", [None, True], ids=["default", "CUDA graphs"])
def test_tokens_are_those_of_the_cpu(decoder, cuda_path, monkeypatch, cuda_graph):
    expected = decoder.generate(PROMPTS, 12, ignore_eos=True), decoder.logits(PROMPTS[2])
    ort = FakeOrt(monkeypatch)
    engine = runtime.load(cuda_path, cuda_graph=cuda_graph)
    assert engine.generate(PROMPTS, 12, ignore_eos=True) == expected[0]
    np.testing.assert_allclose(engine.logits(PROMPTS[2]), expected[1], atol=1e-5)
    assert ort.preloaded == 1
    assert ort.options[0]["use_tf32"] == "0"


def test_caches_stay_on_the_device_and_a_greedy_step_reads_a_token(ort, cuda_path):
    engine = runtime.load(cuda_path)
    engine.generate([[5, 6, 7]], 3, ignore_eos=True)
    del ort.crossed[:]
    sequences = engine.sequences(1, capacity=32)
    tokens, _ = sequences.append_greedily([[5, 6, 7]])
    del ort.crossed[:]
    sequences.append_greedily([[int(tokens[0])]])
    assert sorted(nbytes for way, nbytes in ort.crossed if way == "down") == [4, 8]  # its logit, and its id
    assert max(nbytes for way, nbytes in ort.crossed if way == "up") < 64


def test_capacity_doubles_because_a_copy_goes_through_the_host(ort, cuda_path, monkeypatch):
    monkeypatch.setattr("archc.runtime.state.cache._CAPACITY_STEP", 4)
    engine = runtime.load(cuda_path)
    sequences, capacities = engine.sequences(1), []
    for token in range(40):
        sequences.append([[token]])
        capacities.append(sequences.capacity)
    assert sorted(set(capacities)) == [4, 8, 16, 32, 64]


def test_captured_steps_are_replayed_and_released(ort, cuda_path, monkeypatch):
    monkeypatch.setattr("archc.runtime.backends.ort.backend._MASK_STEP", 16)
    engine = runtime.load(cuda_path, cuda_graph=True)
    engine.generate([[5, 6, 7]], 24, ignore_eos=True)
    gc.collect()
    # 23 steps, with masks of 16 and of 32 keys.
    assert [ort.replays.count(graph) for graph in dict.fromkeys(ort.replays)] == [13, 10]
    assert ort.released == list(dict.fromkeys(ort.replays))
    assert ort.graphs == {}


def test_steps_that_ask_for_nothing(ort, cuda_path, tiny, tmp_path):
    sequences = runtime.load(cuda_path, cuda_graph=True).sequences(1)
    sequences.append([[5]], logits="none")  # the graph looks for the likeliest token all the same
    assert len(ort.replays) == 1
    del ort.replays[:]
    plan = tiny.write(tmp_path / "p", change=lambda model, manifest: manifest.update(target="ort-cuda"))
    engine = runtime.load(plan, cuda_graph=True)
    sequences = engine.sequences(1)
    sequences.append([[5]], logits="none")
    assert ort.replays == []
    sequences.append([[6]])
    assert len(ort.replays) == 1


def test_a_fallback_to_the_cpu_is_loud(monkeypatch, cuda_path):
    FakeOrt(monkeypatch, falls_back=True)
    with pytest.raises(BackendError, match=r"expected CUDAExecutionProvider, but the session fell back to CPU"):
        runtime.load(cuda_path)
