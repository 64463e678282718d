"""Results of generation: each has its own ids, finish reasons and timing."""

from __future__ import annotations

import gc
import weakref

import pytest

from archc.runtime import PromptError, SamplingOptions

COUNTS = ("prompt_tokens", "new_tokens")


def test_interleaved_streams_keep_their_own_results(decoder):
    long = decoder.stream([5, 6, 7], max_new_tokens=40, ignore_eos=True)
    short = decoder.stream([9], max_new_tokens=3, ignore_eos=True)
    next(long)
    text = "".join(short)
    assert [short.timing[key] for key in COUNTS] == [1, 3]
    assert (short.finish_reason, long.finish_reason) == ("length", None)
    assert long.timing["prompt_tokens"] == 3
    rest = "".join(long)
    assert [long.timing[key] for key in COUNTS] == [3, 40]
    assert [short.timing[key] for key in COUNTS] == [1, 3]
    assert (short.finish_reason, long.finish_reason) == ("length", "length")
    assert long.ids == decoder.generate([5, 6, 7], 40, ignore_eos=True)[0]
    assert short.ids == decoder.generate([9], 3, ignore_eos=True)[0]
    assert text == decoder.tokenizer.decode(short.ids)
    assert decoder.tokenizer.decode(long.ids).endswith(rest)
    assert long.timing is not decoder.timing
    assert set(decoder.timing) == {"load_s", "threads", "device"}


def test_timing_counts_tokens_and_seconds(decoder):
    result = decoder.run([[1, 2, 3], [4]], max_new_tokens=5, ignore_eos=True)
    assert result.ids == decoder.generate([[1, 2, 3], [4]], 5, ignore_eos=True)
    timing = result.timing
    assert [timing[key] for key in COUNTS] == [4, 10]
    assert (timing["threads"], timing["device"]) == (1, "cpu")
    assert timing["load_s"] > 0
    assert timing["prefill_s"] > 0
    assert timing["decode_s"] > 0


def test_options_may_be_an_object_or_keywords(decoder):
    options = SamplingOptions(max_new_tokens=4, temperature=0.9, seed=3, ignore_eos=True)
    ids = decoder.run([5, 6], options).ids
    assert ids == decoder.run([5, 6], max_new_tokens=4, temperature=0.9, seed=3, ignore_eos=True).ids
    assert ids == decoder.generate([5, 6], 4, 0.9, seed=3, ignore_eos=True)
    stream = decoder.stream([5, 6], options=options)
    assert "".join(stream) == decoder.tokenizer.decode(ids[0])
    for call in (decoder.run, decoder.stream):
        with pytest.raises(PromptError, match=r"top_k: not supported together with `options`"):
            call([5, 6], options=options, top_k=3)


def test_generation_stops_at_a_text_across_tokens(decoder):
    free = decoder.generate([5, 6, 7], 24, ignore_eos=True)[0]
    text = decoder.tokenizer.decode(free)
    stop = text[3:6]
    result = decoder.run([5, 6, 7], max_new_tokens=24, ignore_eos=True, stop=stop)
    assert result.finish_reasons == ["stop"]
    (ids,) = result.ids
    assert free[: len(ids)] == ids
    assert len(ids) < len(free)
    assert result.timing["new_tokens"] == len(ids)
    stream = decoder.stream([5, 6, 7], max_new_tokens=24, ignore_eos=True, stop=[stop])
    assert "".join(stream) == text[: text.index(stop)]
    assert (stream.ids, stream.finish_reason) == (ids, "stop")


def test_the_text_of_beams_comes_at_the_end(decoder):
    free = decoder.generate([5, 6, 7], 12, num_beams=3, ignore_eos=True)[0]
    text = decoder.tokenizer.decode(free)
    calls = []
    stream = decoder.stream(
        [5, 6, 7], max_new_tokens=12, num_beams=3, ignore_eos=True, on_token=lambda *call: calls.append(call)
    )
    assert list(stream) == [text]
    assert stream.ids == free
    assert calls == [(0, token) for token in free]
    stopped = decoder.stream([5, 6, 7], max_new_tokens=12, num_beams=3, ignore_eos=True, stop=text[3:6])
    assert ("".join(stopped), stopped.finish_reason) == (text[: text.index(text[3:6])], "stop")


def test_sampled_beams_repeat_with_their_seed(decoder):
    options = {"num_beams": 2, "temperature": 9.0, "ignore_eos": True}
    first, again = ([decoder.generate([5, 6], 9, seed=seed, **options) for seed in range(6)] for _ in range(2))
    assert first == again
    assert len({tuple(ids) for (ids,) in first}) > 3


def test_a_stream_yields_the_text_of_generate_in_pieces(decoder):
    prompt = decoder.tokenizer.encode("hello")
    (expected,) = decoder.generate(prompt, 20)
    stream = decoder.stream("hello", max_new_tokens=20)
    pieces = list(stream)
    assert "".join(pieces) == decoder.tokenizer.decode(expected)
    assert all(pieces)
    assert stream.ids == expected
    assert stream.timing["new_tokens"] == len(expected)


def test_a_stream_can_be_closed_early(decoder):
    stream = decoder.stream("hello", max_new_tokens=20, ignore_eos=True)
    next(stream)
    stream.close()
    assert list(stream) == []
    assert 0 < stream.timing["new_tokens"] == len(stream.ids) < 20
    assert stream.finish_reason is None
    assert decoder.generate([1], 2, ignore_eos=True)


def test_an_abandoned_stream_releases_its_caches_at_once(decoder, monkeypatch):
    caches = []
    sequences = decoder.sequences

    def watched(*args, **keywords):
        made = sequences(*args, **keywords)
        caches.append(weakref.ref(made))
        return made

    monkeypatch.setattr(decoder, "sequences", watched)
    gc.disable()
    try:
        stream = decoder.stream("hello", max_new_tokens=20, ignore_eos=True)
        next(stream)
        assert caches[0]() is not None
        del stream
        assert caches[0]() is None
    finally:
        gc.enable()


def test_a_stream_raises_for_its_arguments_before_the_first_piece(decoder):
    with pytest.raises(PromptError, match="unknown option 'warmth'"):
        decoder.stream("hello", warmth=1)
    with pytest.raises(PromptError, match="expected one prompt, got 2; use generate"):
        decoder.stream([[1], [2]])
