"""The engine compared with plain numpy and with itself, and its errors for invalid calls."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from archc import runtime
from archc.plan import Plan
from archc.runtime import EngineError, PlanError, PromptError


def test_logits_are_those_of_plain_numpy(decoder, tiny):
    ids = [3, 200, 17, 5, 90, 0, 263]
    assert np.abs(decoder.logits(ids)[0] - tiny.expected(ids)).max() < 1e-4
    assert decoder.logits(np.array([ids], np.int32)).dtype == np.float32


def test_a_window_hides_older_keys_also_while_decoding(tiny, tmp_path):
    engine = runtime.load(tiny.write(tmp_path / "p", window=3), threads=1)
    ids = [3, 200, 17, 5, 90, 0, 263]
    expected = tiny.expected(ids, window=3)
    assert np.abs(engine.logits(ids)[0] - expected).max() < 1e-4
    rows = engine.sequences(2)
    rows.append([ids[:4], ids[:2]], logits="none")
    last = rows.append([ids[4:], ids[2:5]])
    assert np.abs(last[0] - expected[6]).max() < 1e-4
    assert np.abs(last[1] - expected[4]).max() < 1e-4


def test_a_ragged_batch_equals_each_prompt_alone(decoder):
    rows = [[1, 2, 3, 4, 5], [9], [7, 8, 200]]
    together = decoder.logits(rows)
    for index, row in enumerate(rows):
        assert np.abs(together[index, : len(row)] - decoder.logits(row)[0]).max() < 1e-5
    assert decoder.generate(rows, 6, ignore_eos=True) == [decoder.generate(r, 6, ignore_eos=True)[0] for r in rows]


def test_greedy_tokens_are_the_arg_max_of_the_full_forward(decoder, tiny):
    ids = [5, 6, 7]
    result = decoder.run(ids, max_new_tokens=20, ignore_eos=True)
    for token in result.ids[0]:
        assert token == tiny.expected(ids)[-1].argmax()
        ids = [*ids, token]
    assert result.finish_reasons == ["length"]


def test_padded_arrays_and_ragged_lists_say_the_same(decoder):
    assert np.array_equal(decoder.logits(np.array([[4, 5, 6], [7, -1, -1]])), decoder.logits([[4, 5, 6], [7]]))


def test_eos_and_stop_ids_end_a_row_and_are_not_returned(tiny, tmp_path, decoder):
    free = decoder.generate([5, 6, 7], 8, ignore_eos=True)[0]
    end = next(token for token in free if token != free[0])
    before = free[: free.index(end)]

    def change(model, manifest):
        manifest["tokens"]["eos"] = [end]

    engine = runtime.load(tiny.write(tmp_path / "p", change=change), threads=1)
    by_eos = engine.run([5, 6, 7], max_new_tokens=8)
    assert (by_eos.ids, by_eos.finish_reasons) == ([before], ["eos"])
    assert engine.generate([5, 6, 7], 8, ignore_eos=True) == [free]
    by_stop = decoder.run([5, 6, 7], max_new_tokens=8, stop_token_ids=[end], ignore_eos=True)
    assert (by_stop.ids, by_stop.finish_reasons) == ([before], ["stop"])


def test_generation_ends_at_the_limit_of_the_plan(decoder, tiny):
    prompt = list(range(tiny.limit - 3))
    result = decoder.run([prompt, [1, 2]], max_new_tokens=100, ignore_eos=True)
    assert [len(row) for row in result.ids] == [3, tiny.limit - 2]
    assert result.finish_reasons == ["length", "length"]
    assert result.ids[1] == decoder.generate([1, 2], 100, ignore_eos=True)[0]


def test_on_token_hears_every_token(decoder):
    heard = []
    out = decoder.generate([[1, 2], [3]], 4, ignore_eos=True, on_token=lambda row, token: heard.append((row, token)))
    assert [[token for row, token in heard if row == index] for index in (0, 1)] == out


IDS = {
    "no rows": ([], "the prompt is empty"),
    "an empty row": ([[]], "the prompt is empty"),
    "an empty row of two": ([[1], []], "prompt 1 .* is empty"),
    "outside of the vocabulary": ([1, 264], "position 1: expected an id from 0 to 263 .*, got id 264"),
    "negative": ([[1, -2]], "position 1: expected an id .*, got id -2"),
    "padding before an id": ([[1, -1, 2]], "put padding at the right end"),
    "padding on the left": (np.array([[-1, 3]]), "put padding at the right end"),
    "fractions": ([1.5, 2.0], "expected integers"),
    "booleans": ([True, False], "expected integers"),
    "over 63 bits": ([2**63], "expected integers below 2"),
    "over 64 bits": ([2**70], "integers"),
    "text in a row": ([["a"]], "expected integers"),
    "three axes": ([[[1]]], "expected integers"),
    "a number": (7, "expected rows of integers"),
    "None": (None, "expected rows of integers"),
    "ids and rows": ([1, [2]], "integers"),
    "over the limit": ([0] * 65, "expected at most 64 tokens, got 65"),
}


def test_only_generation_takes_text(decoder):
    with pytest.raises(PromptError, match="expected token ids, got text"):
        decoder.logits("text")


@pytest.mark.parametrize(("ids", "message"), IDS.values(), ids=IDS)
def test_ids_that_do_not_fit_are_explained(decoder, ids, message):
    for call in (decoder.logits, decoder.generate):
        with pytest.raises(PromptError, match=message):
            call(ids)


def test_options_out_of_range_are_explained(decoder):
    with pytest.raises(PromptError, match="max_new_tokens: expected an integer of at least 1, got 0"):
        decoder.generate([1], max_new_tokens=0)


def test_a_prompt_of_the_maximum_length_is_refused(decoder):
    with pytest.raises(PromptError, match="expected fewer than 64 tokens, the plan's maximum, got 64"):
        decoder.generate([0] * 64)


def test_decoder_and_encoder_name_each_other_when_confused(decoder, encoder):
    with pytest.raises(PromptError, match=r"engine\.encode"):
        encoder.generate([1])
    with pytest.raises(PromptError, match=r"engine\.generate"):
        decoder.encode([1])
    with pytest.raises(PromptError, match="token_type_ids is not supported"):
        decoder.logits([1], token_type_ids=[0])
    with pytest.raises(PromptError, match="sequences are not supported for an encoder"):
        encoder.sequences(1)


def test_an_encoder_gives_hidden_states_pooled_and_logits_by_row(encoder, tiny):
    rows = [[1, 2, 3, 4], [9, 8]]
    hidden, pooled, logits = encoder.encode(rows), encoder.pooled(rows), encoder.logits(rows)
    assert hidden.shape == (2, 4, 16)
    assert pooled.shape == (2, 16)
    assert logits.shape == (2, 4, tiny.vocab)
    for index, row in enumerate(rows):
        assert np.abs(hidden[index, : len(row)] - encoder.encode(row)[0]).max() < 1e-5
        assert np.abs(pooled[index] - encoder.pooled(row)[0]).max() < 1e-5
        assert np.abs(logits[index, : len(row)] - encoder.logits(row)[0]).max() < 1e-5
    assert np.abs(logits - hidden @ tiny.weights["head"]).max() < 1e-4


def test_token_types_reach_the_graph_and_must_match(encoder):
    plain = encoder.encode([1, 2, 3])
    assert np.array_equal(plain, encoder.encode([1, 2, 3], token_type_ids=[0, 0, 0]))
    assert not np.allclose(plain, encoder.encode([1, 2, 3], token_type_ids=[0, 1, 1]))
    encoder.encode([[1, 2], [3]], token_type_ids=[[0, 1], [1]])
    for wrong in ([0, 0], [[0, 0, 0], [0, 0, 0]], [0, 0, 0, 0]):
        with pytest.raises(PromptError, match="expected one type for each id"):
            encoder.encode([1, 2, 3], token_type_ids=wrong)
    for wrong in ([0, 2, 0], [0, -1, 0]):
        message = rf"token_type_ids of the prompt, position 1: expected a type from 0 to 1, got {wrong[1]}"
        with pytest.raises(PromptError, match=message):
            encoder.encode([1, 2, 3], token_type_ids=wrong)


def test_a_plan_without_tokenizer_takes_ids_only(tiny, tmp_path):
    engine = runtime.load(tiny.write(tmp_path / "p", with_tokenizer=False), threads=1)
    assert engine.tokenizer is None
    assert len(engine.generate([1], 3, ignore_eos=True)[0]) == 3
    for call in (lambda: engine.stream("hi"), lambda: engine.generate([1], stop="x")):
        with pytest.raises(PromptError, match="the plan has no tokenizer"):
            call()


def test_non_finite_logits_are_an_error_and_not_a_token(tiny, tmp_path):
    plan = tiny.write(tmp_path / "p")
    data = bytearray(plan.read_bytes())
    with Plan(plan) as opened:
        head = next(t for t in opened.manifest.tensors if t.name == "head")
        at = opened.offset("weights.bin") + head.offset
    data[at : at + head.bytes] = np.full(head.shape, np.nan, np.float32).tobytes()
    plan.write_bytes(data)
    with pytest.raises(runtime.NonFiniteLogitsError, match="got nan"):
        runtime.load(plan, threads=1).generate([1])


def test_load_explains_a_missing_file_and_bad_threads(tmp_path, decoder_path):
    with pytest.raises(PlanError, match="cannot be opened"):
        runtime.load(tmp_path / "none.plan")
    with pytest.raises(PlanError, match="expected a plan file, or a folder of --target onnx or onnx-hf, got a folder"):
        runtime.load(tmp_path)
    with pytest.raises(PlanError, match="cannot be opened"):
        runtime.load("a\0b")
    with pytest.raises(runtime.EngineError, match=r"threads: expected at least 1, .*got 0"):
        runtime.load(decoder_path, threads=0)


def test_a_link_to_a_plan_loads(decoder_path, tmp_path):
    link = tmp_path / "link.plan"
    link.symlink_to(decoder_path)
    assert runtime.load(link, threads=1).logits([1]).shape == (1, 1, 264)


@pytest.mark.parametrize("change", ["overwritten", "truncated"])
def test_a_plan_that_is_overwritten_in_use_is_an_error(tiny, tmp_path, change):
    path = tiny.write(tmp_path / "p", with_tokenizer=False)
    engine, data = runtime.load(path, threads=1), path.read_bytes()
    engine.generate([1, 2], 2)
    if change == "truncated":
        os.truncate(path, len(data) - 4096)
    else:
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(0, 0))
    for call in (lambda: engine.generate([1, 2], 2), lambda: engine.logits([1, 2]), lambda: engine.sequences(1)):
        with pytest.raises(PlanError, match="the plan file was overwritten while it is in use; replace plans by a new"):
            call()
    engine.close()


def test_a_plan_that_is_replaced_in_use_stays_loaded(tiny, tmp_path):
    path = tiny.write(tmp_path / "p", with_tokenizer=False)
    engine = runtime.load(path, threads=1)
    expected = engine.generate([1, 2], 4)
    path.unlink()
    tiny.write(path, with_tokenizer=False)
    assert engine.generate([1, 2], 4) == expected
    engine.close()


def test_after_close_everything_that_reads_the_plan_says_so(tiny, tmp_path):
    path = tiny.write(tmp_path / "p")
    for read_before in (False, True):
        engine = runtime.load(path, threads=1)
        if read_before:
            assert engine.tokenizer is not None
        engine.close()
        engine.close()
        calls = (
            lambda engine: engine.tokenizer,
            lambda engine: engine.stream("hi"),
            lambda engine: engine.generate([1], stop="x"),
            lambda engine: engine.plan.read("manifest.json"),
            lambda engine: engine.plan.verify_hashes(),
        )
        for call in calls:
            with pytest.raises(EngineError, match="is closed"):
                call(engine)


def test_special_tokens_of_a_prompt_are_parsed_on_request(decoder):
    chosen = []
    text = "hi<|im_end|>"
    stream = decoder.stream(
        text, parse_special=True, max_new_tokens=4, on_token=lambda row, token: chosen.append(token)
    )
    ids = decoder.tokenizer.encode(text, parse_special=True)
    assert "".join(stream) == decoder.tokenizer.decode(ids + stream.ids)[len("hi") :]
    assert stream.timing["prompt_tokens"] == 3
    assert decoder.stream(text, max_new_tokens=4).timing["prompt_tokens"] == 2 + len("<|im_end|>")
    for arguments in ({"prompt": [1, 2]}, {"prompt": "hi", "chat": True}):
        with pytest.raises(PromptError, match="parse_special: expected a text"):
            decoder.stream(**arguments, parse_special=True)


def test_stop_strings_and_shown_text_have_special_tokens(tiny, tmp_path, decoder):
    prompt = [5, 6, 7]
    free = decoder.generate(prompt, 24, ignore_eos=True)[0]

    definition = json.loads(tiny.tokenizer_json)
    vocab = definition["model"]["vocab"]
    piece = "<stop>"
    vocab[piece] = vocab.pop(next(text for text, token in vocab.items() if token == free[3]))
    definition["added_tokens"].append({**definition["added_tokens"][0], "id": free[3], "content": piece})
    files = {**tiny.tokenizer_files(), "tokenizer/tokenizer.json": json.dumps(definition).encode()}
    engine = runtime.load(tiny.write(tmp_path / "p", with_tokenizer=False, extra=files), 1)
    first = free.index(free[3])
    stream = engine.stream(prompt, stop=piece, max_new_tokens=24, ignore_eos=True)
    text = "".join(stream)
    assert (stream.ids, stream.finish_reason) == (free[:first], "stop")
    assert piece not in text
    assert engine.generate(prompt, 24, stop=piece, ignore_eos=True) == [free[:first]]
    shown = "".join(engine.stream(prompt, show_special=True, max_new_tokens=24, ignore_eos=True))
    hidden = "".join(engine.stream(prompt, max_new_tokens=24, ignore_eos=True))
    whole = engine.tokenizer.decode(prompt + free, skip_special_tokens=False)
    assert shown == whole[len(engine.tokenizer.decode(prompt, skip_special_tokens=False)) :]
    assert piece in shown
    assert piece not in hidden


def test_the_text_of_a_stream_continues_that_of_its_prompt(tiny, tmp_path):
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.WordLevel({f"▁w{index}": index for index in range(tiny.vocab)}, unk_token="▁w0"))
    tokenizer.decoder = decoders.Metaspace()
    files = {"tokenizer/tokenizer.json": tokenizer.to_str().encode()}
    engine = runtime.load(tiny.write(tmp_path / "p", with_tokenizer=False, extra=files), 1)
    stream = engine.stream([5, 6, 7], max_new_tokens=4, ignore_eos=True)
    assert "".join(stream) == "".join(f" w{token}" for token in stream.ids)
    stopped = engine.stream([5, 6, 7], max_new_tokens=4, ignore_eos=True, stop=f" w{stream.ids[0]}")
    assert ("".join(stopped), stopped.ids) == ("", [])
