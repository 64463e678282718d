"""The TensorRT backend on a fake GPU: complete generations, and their use of memory."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest

from archc import runtime
from archc.runtime import EngineError, NonFiniteLogitsError
from tests.runtime.fakes.cuda import FakeCuda, cudaError_t
from tests.runtime.fakes.plans import greedy, write_engine_plan
from tests.runtime.fakes.trt import FakeTensorRt


class Gpu:
    """A fake GPU with its two packages."""

    def __init__(self, monkeypatch, rtx=False, **options):
        self.cuda = FakeCuda()
        self.trt = FakeTensorRt(self.cuda, rtx=rtx, **options)
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", self.cuda)
        monkeypatch.setitem(sys.modules, "tensorrt_rtx" if rtx else "tensorrt", self.trt.module)

    def check(self):
        """Check that memory was used correctly and is free."""
        gc.collect()
        assert self.cuda.violations == []
        assert self.cuda.memory == {}
        assert self.cuda.pinned == {}


@pytest.fixture
def gpu(monkeypatch):
    return Gpu(monkeypatch)


@pytest.fixture(scope="session")
def engine_path(tiny, tmp_path_factory):
    """A plan of the tiny decoder with the argmax in its graph."""
    model, manifest, data = tiny.model()
    greedy(model, manifest)
    return write_engine_plan(tmp_path_factory.mktemp("trt") / "engine.plan", model, manifest, data)


PROMPTS = [[5, 6, 7], [9], [7, 8, 200, 3]]


def test_greedy_tokens_are_those_of_the_cpu(gpu, engine_path, decoder):
    engine = runtime.load(engine_path)
    assert engine.generate(PROMPTS, 12, ignore_eos=True) == decoder.generate(PROMPTS, 12, ignore_eos=True)
    assert engine.timing["device"] == "cuda"
    engine.close()
    del engine
    gpu.check()


def test_logits_are_those_of_plain_numpy(gpu, engine_path, tiny):
    engine = runtime.load(engine_path)
    ids = [3, 200, 17, 5, 90, 0, 263]
    assert np.abs(engine.logits(ids)[0] - tiny.expected(ids)).max() < 1e-4
    assert np.abs(engine.logits([4])[0] - tiny.expected([4])).max() < 1e-4
    del engine
    gpu.check()


@pytest.mark.parametrize(
    "options", [{"temperature": 0.8, "seed": 5}, {"repetition_penalty": 1.5}], ids=["sampling", "penalty"]
)
def test_sampling_and_penalties_read_whole_logits(gpu, engine_path, decoder, options):
    engine = runtime.load(engine_path)
    got = engine.generate(PROMPTS, 9, ignore_eos=True, **options)
    assert got == decoder.generate(PROMPTS, 9, ignore_eos=True, **options)
    assert max(nbytes for way, nbytes in gpu.cuda.copied if way == "down") >= 3 * engine.vocab_size * 4


def test_a_greedy_step_copies_a_token_and_no_logits(gpu, engine_path):
    engine = runtime.load(engine_path)
    engine.generate([[5, 6, 7]], 8, ignore_eos=True)
    down = [nbytes for way, nbytes in gpu.cuda.copied if way == "down"]
    up = [nbytes for way, nbytes in gpu.cuda.copied if way == "up"]
    # Prefill: the token and its logit each; then one copy each way a step, both within a few aligned places.
    assert len(down) == 2 + 7
    assert len(up) == 1 + 7
    assert max(down) < 1024


def test_past_and_present_are_at_one_address_in_every_context(gpu, engine_path):
    engine = runtime.load(engine_path)
    engine.generate(PROMPTS, 5, ignore_eos=True)
    assert len(gpu.trt.contexts) == 2  # one for prompts, one for the step that repeats
    addresses = [
        [context.addresses[f"{side}.0.{what}"] for side in ("past_key_values", "present")]
        for context in gpu.trt.contexts
        for what in ("key", "value")
    ]
    assert all(past == present for past, present in addresses)
    assert len({past for past, _ in addresses}) == 2


def test_the_profile_is_that_of_the_calls_length(gpu, engine_path):
    engine = runtime.load(engine_path)
    engine.generate([[5, 6, 7]], 6, ignore_eos=True)
    assert [profile for profile, _ in gpu.trt.runs] == [0, 1, 1]  # the second run of a step is recorded, then launched
    assert [recorded for _, recorded in gpu.trt.runs] == [False, False, True]
    assert gpu.cuda.launches == 4
    assert gpu.cuda.calls.count("cudaGraphInstantiate") == 1


def test_a_step_that_cannot_be_captured_runs_with_a_warning(monkeypatch, engine_path, decoder):
    gpu = Gpu(monkeypatch, captures=False)
    engine = runtime.load(engine_path)
    with pytest.warns(RuntimeWarning, match=r"cannot be captured.*not permitted when stream is capturing"):
        got = engine.generate(PROMPTS, 8, ignore_eos=True)
    assert got == decoder.generate(PROMPTS, 8, ignore_eos=True)
    assert gpu.cuda.launches == 0
    del engine
    gpu.check()


def test_the_host_waits_for_the_stream_before_it_reads(gpu, engine_path):
    engine = runtime.load(engine_path)
    del gpu.cuda.calls[:]
    engine.generate([[5, 6]], 3, ignore_eos=True)
    work = [name for name in gpu.cuda.calls if name in ("cudaMemcpyAsync", "cudaStreamSynchronize", "cudaGraphLaunch")]
    assert work[-4:] == ["cudaMemcpyAsync", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaStreamSynchronize"]


def test_long_sequences_go_through_masks_of_several_lengths(gpu, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("archc.runtime.backends.tensorrt.backend._MIN_MASK_STEP", 16)
    model, manifest, data = tiny.model()
    greedy(model, manifest)
    plan = write_engine_plan(tmp_path / "p", model, manifest, data)
    monkeypatch.setattr("archc.runtime.backends.tensorrt.backend._MAX_MASK_LENGTHS", 64)
    engine = runtime.load(plan)
    tokens = [5, 6, 7]
    for token in engine.generate([[5, 6, 7]], tiny.limit - 3, ignore_eos=True)[0]:
        assert token == tiny.expected(tokens)[-1].argmax()
        tokens.append(token)
    assert len(tokens) == tiny.limit
    lengths = {context.shapes["attn_mask"][-1] for context in gpu.trt.contexts if context.profile == 1}
    assert len(lengths) == 1  # 64 slots are one step of 64
    del engine
    gpu.check()


def test_ragged_calls_at_the_end_of_the_cache(gpu, engine_path, decoder, tiny):
    """Padding must not be written past the end: neither that of a full row, nor that of a row next to a long one."""
    rows = [list(range(1, tiny.limit - 1)), [3, 4]]
    parts = [
        [rows[0], rows[1]],
        [[7], [9, 8, 7, 6, 5]],
        [[8], [1]],  # the first is full now
        [[], [2, 3, 4]],
        [[], [5]],
    ]
    engine = runtime.load(engine_path)
    ours, theirs = engine.sequences(2), decoder.sequences(2)
    for part in parts:
        got, expected = ours.append(part), theirs.append(part)
        for row, new in enumerate(part):
            if new:
                assert np.abs(got[row] - expected[row]).max() < 1e-4
    assert ours.lengths.tolist() == theirs.lengths.tolist() == [tiny.limit, 12]
    with pytest.raises(EngineError, match="expected at most 64 tokens, got 65"):
        ours.append([[1], [1]])
    del engine, ours
    gpu.check()


def test_more_rows_than_the_engine_takes_name_the_option(gpu, engine_path):
    engine = runtime.load(engine_path)
    with pytest.raises(EngineError, match=r"expected at most 3 sequences, got 4; build with --max-batch-size 4"):
        engine.generate([[1]] * 4, 2)


@pytest.mark.parametrize(
    ("longest", "advice"),
    [(64, "because the maximum of this model is 64 tokens"), (128, "or build with --max-seq-len up to 128")],
)
def test_room_for_more_than_the_engine_has_is_refused(gpu, tiny, tmp_path, longest, advice):
    def change(manifest, described):
        manifest["limits"] = {**manifest["limits"], "longest_sequence": longest}

    engine = runtime.load(write_engine_plan(tmp_path / "p", *tiny.model(), change=change))
    sequences = engine.sequences(1, capacity=2)
    assert sequences.capacity == 64
    message = f"cache: expected at most 64 tokens per row, got 65; use shorter sequences, {advice}$"
    with pytest.raises(EngineError, match=message):
        engine.sequences(1, capacity=65)
    with pytest.raises(EngineError, match=f"at most 64 slots, got 65; use shorter sequences, {advice}$"):
        engine._backend.grown(sequences._cache.bindings[0].buffer, 2, 65)


def test_no_memory_on_the_device_is_explained_and_nothing_leaks(gpu, engine_path):
    engine = runtime.load(engine_path)
    gpu.cuda.room = 20_000
    with pytest.raises(EngineError, match=r"not enough GPU memory: .* MiB for a state of \[3, 2, 64, 8\]"):
        engine.generate(PROMPTS, 4)
    gpu.cuda.room = 1 << 20
    engine.generate(PROMPTS, 4)
    del engine
    gpu.check()


@pytest.mark.parametrize("name", ["cudaMemcpyAsync", "cudaStreamSynchronize", "cudaMemsetAsync", "cudaHostAlloc"])
def test_a_failing_call_names_itself_and_leaves_nothing(gpu, engine_path, name):
    engine = runtime.load(engine_path)
    gpu.cuda.fails[name] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(EngineError, match=rf"CUDA failed in {name}: cudaErrorIllegalAddress: errorillegaladdress"):
        engine.generate(PROMPTS, 4)
    del engine
    gpu.check()


def test_non_finite_logits_are_an_error_without_a_copy_of_the_logits(gpu, tiny, tmp_path):
    model, manifest, data = tiny.model()
    head = next(item for item in manifest["tensors"] if item["name"] == "head")
    data = data[: head["offset"]] + np.full(head["bytes"] // 4, np.nan, np.float32).tobytes()
    greedy(model, manifest)
    engine = runtime.load(write_engine_plan(tmp_path / "p", model, manifest, data))
    with pytest.raises(NonFiniteLogitsError, match="got nan"):
        engine.generate([[1, 2]], 3)


def test_plans_without_an_argmax_copy_the_last_logits(gpu, tiny, tmp_path, decoder):
    engine = runtime.load(write_engine_plan(tmp_path / "p", *tiny.model()))
    assert engine.generate(PROMPTS, 9, ignore_eos=True) == decoder.generate(PROMPTS, 9, ignore_eos=True)


def test_tensorrt_for_rtx_captures_graphs_itself(monkeypatch, tiny, tmp_path, decoder):
    gpu = Gpu(monkeypatch, rtx=True, version="1.7.1.116")

    def change(manifest, described):
        manifest["target"] = "tensorrt-rtx"
        manifest["engine"].update(builder="tensorrt_rtx", version="1.7.1.116", compute_capabilities=["8.9", "9.0"])

    model, manifest, data = tiny.model()
    greedy(model, manifest)
    engine = runtime.load(write_engine_plan(tmp_path / "p", model, manifest, data, change=change))
    assert engine.generate(PROMPTS, 9, ignore_eos=True) == decoder.generate(PROMPTS, 9, ignore_eos=True)
    assert [context.graph_strategy for context in gpu.trt.contexts] == [None, "whole graph"]
    assert "cudaStreamBeginCapture" not in gpu.cuda.calls
    del engine
    gpu.check()


@pytest.mark.parametrize("rtx", [False, True], ids=["tensorrt", "tensorrt-rtx"])
def test_steps_are_not_captured_with_cuda_graph_false(monkeypatch, tiny, tmp_path, decoder, rtx):
    gpu = Gpu(monkeypatch, rtx=rtx)

    def change(manifest, described):
        if rtx:
            manifest["target"] = "tensorrt-rtx"
            manifest["engine"]["builder"] = "tensorrt_rtx"

    engine = runtime.load(write_engine_plan(tmp_path / "p", *tiny.model(), change=change), cuda_graph=False)
    assert engine.generate(PROMPTS, 9, ignore_eos=True) == decoder.generate(PROMPTS, 9, ignore_eos=True)
    assert "cudaStreamBeginCapture" not in gpu.cuda.calls
    assert {context.graph_strategy for context in gpu.trt.contexts} == {None}


def test_streamed_weights_get_the_automatic_budget(gpu, tiny, tmp_path):
    def change(manifest, described):
        manifest["engine"]["weight_streaming"] = True

    engine = runtime.load(write_engine_plan(tmp_path / "p", *tiny.model(), change=change))
    assert engine._backend.opened.engine.weight_streaming_budget_v2 == 4096


def test_an_encoder_runs_at_the_length_of_its_text(gpu, tiny, tmp_path, encoder):
    engine = runtime.load(write_engine_plan(tmp_path / "p", *tiny.model(encoder=True)))
    rows = [[1, 2, 3], [4]]
    for ours, theirs in (
        (engine.encode, encoder.encode),
        (engine.pooled, encoder.pooled),
        (engine.logits, encoder.logits),
    ):
        got, expected = ours(rows), theirs(rows)
        assert got.shape == expected.shape
        assert np.abs(got[0] - expected[0]).max() < 1e-5
    del engine
    gpu.check()
