"""Every kind of state in the GPU backends, on a fake GPU: compiled graphs compared with the CPU."""

from __future__ import annotations

import gc
import json
import sys

import numpy as np
import pytest

from archc import runtime
from archc.compiler.build import build
from tests.runtime.fakes.cuda import FakeCuda
from tests.runtime.fakes.ort import FakeOrt
from tests.runtime.fakes.plans import engine_plan_of, plain_plan_of, summing
from tests.runtime.fakes.trt import FakeTensorRt

PROMPTS = [[5, 6, 7, 11, 2], [9], [7, 8, 20]]
FAMILIES = {
    # kv in place, and fixed states of the filter that change places
    "yuan2": {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 64,
        "tie_word_embeddings": "false",
    },
    # kv, cross, and a second graph
    "t5": {
        "vocab_size": 50,
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 4,
        "n_positions": 64,
        "relative_attention_max_distance": 20,
        "tie_word_embeddings": "false",
    },
}


@pytest.fixture(scope="module", params=[*FAMILIES, "summing"])
def plans(request, tmp_path_factory):
    """One model for the CPU, with engines, and for ONNX Runtime's CUDA provider."""
    family, folder = request.param, tmp_path_factory.mktemp(request.param)
    if family in FAMILIES:
        overrides = [f"{name}={value}" for name, value in FAMILIES[family].items()]
        portable = build(family, out=folder / "portable", target="onnx", random=1, overrides=overrides)
    else:  # fixed states alone, with lengths and no mask
        portable = summing(folder / "portable")
    if family == "t5":
        manifest = json.loads((portable / "archc.json").read_text())
        manifest["tokens"] |= {"start": [7]}
        (portable / "archc.json").write_text(json.dumps(manifest))
    return (
        plain_plan_of(portable, folder / "cpu.plan", "ort-cpu"),
        engine_plan_of(portable, folder / "engine.plan"),
        plain_plan_of(portable, folder / "cuda.plan", "ort-cuda"),
    )


@pytest.fixture
def gpu(monkeypatch):
    cuda = FakeCuda()
    trt = FakeTensorRt(cuda)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", trt.module)
    yield trt
    gc.collect()
    assert cuda.violations == []
    assert cuda.memory == {}
    assert cuda.pinned == {}


def test_generations_are_those_of_the_cpu(gpu, plans):
    cpu, engine = (runtime.load(plan) for plan in plans[:2])
    options = {"decoder_ids": [[7]] * 3} if cpu.manifest.encoder is not None else {}
    got = engine.generate(PROMPTS, 12, ignore_eos=True, **options)
    assert got == cpu.generate(PROMPTS, 12, ignore_eos=True, **options)
    assert len({token for row in got for token in row}) > 3
    cpu.close()
    engine.close()


@pytest.mark.parametrize("target", ["tensorrt", "cuda"])
def test_beams_are_those_of_the_cpu(gpu, plans, monkeypatch, target):
    cpu = runtime.load(plans[0])
    options = {"decoder_ids": [[7]]} if cpu.manifest.encoder is not None else {}
    expected = cpu.generate(PROMPTS[:1], 8, num_beams=3, ignore_eos=True, **options)
    assert expected != cpu.generate(PROMPTS[:1], 8, ignore_eos=True, **options)
    if target == "cuda":
        FakeOrt(monkeypatch)
    engine = runtime.load(plans[1 if target == "tensorrt" else 2])
    assert engine.generate(PROMPTS[:1], 8, num_beams=3, ignore_eos=True, **options) == expected
    cpu.close()
    engine.close()


def test_calls_of_any_length_are_those_of_the_cpu(gpu, plans):
    cpu, engine = (runtime.load(plan) for plan in plans[:2])
    source = {"source": PROMPTS} if cpu.manifest.encoder is not None else {}
    ours, theirs = engine.sequences(3, **source), cpu.sequences(3, **source)
    random = np.random.default_rng(3)
    for longest in (5, 1, 1, 1, 3, 1, 1, 7, 1):
        part = [random.integers(0, 50, random.integers(0, longest + 1)).tolist() for _ in range(3)]
        part[0] = random.integers(0, 50, longest).tolist()
        for logits in ("last", "all"):
            # The same tokens twice: once for what follows the last, once for what follows each.
            got, expected = ours.append(part, logits), theirs.append(part, logits)
            for row, new in enumerate(part):
                if new:
                    there = slice(None) if logits == "last" else slice(len(new))
                    np.testing.assert_allclose(got[row][there], expected[row][there], atol=1e-4)
    assert ours.lengths.tolist() == theirs.lengths.tolist()
    cpu.close()
    engine.close()


@pytest.mark.parametrize("cuda_graph", [False, True], ids=["plain", "CUDA graphs"])
def test_generations_of_the_cuda_provider_are_those_of_the_cpu(plans, monkeypatch, cuda_graph):
    cpu = runtime.load(plans[0])
    options = {"decoder_ids": [[7]] * 3} if cpu.manifest.encoder is not None else {}
    expected = cpu.generate(PROMPTS, 12, ignore_eos=True, **options)
    ort = FakeOrt(monkeypatch)
    engine = runtime.load(plans[2], cuda_graph=cuda_graph)
    assert engine.generate(PROMPTS, 12, ignore_eos=True, **options) == expected
    fixed = any(state.kind == "fixed" for state in engine.manifest.state)
    assert len(set(ort.replays)) == (2 if fixed else 1) * cuda_graph
    cpu.close()
    engine.close()


def test_states_that_are_replaced_change_places(gpu, plans):
    engine = runtime.load(plans[1])
    options = {"decoder_ids": [[7]] * 3} if engine.manifest.encoder is not None else {}
    engine.generate(PROMPTS, 8, ignore_eos=True, **options)
    fixed = [state for state in engine.manifest.state if state.kind == "fixed"]
    steps = [context for context in gpu.contexts if context.profile == 1]
    assert len(steps) == (2 if fixed else 1)  # each is recorded with its own addresses
    for state in fixed:
        reads, writes = ([step.addresses[name] for step in steps] for name in (state.input, state.output))
        assert reads == writes[::-1]
        assert reads[0] != reads[1]
    for state in engine.manifest.state:
        if state.kind == "cross":
            assert {step.addresses[state.input] for step in steps} == {gpu.contexts[0].addresses[state.input]}
    engine.close()
