"""Stop strings in text that arrives in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from archc.runtime.generation.stop_strings import StopMatcher


@given(st.text("abc", max_size=40), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_are_found_for_any_split_of_the_text(text, stops, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    ends = [text.find(stop) for stop in stops if stop in text]
    matcher, out = StopMatcher(stops), ""
    for piece in pieces:
        if not matcher.stopped:
            out += matcher.push(piece)
            assert text.startswith(out)
    # A complete stop string ends the text at once, so one that begins earlier but is completed later may be missed.
    if matcher.stopped:
        assert len(out) in [at for stop in stops for at in range(len(text)) if text.startswith(stop, at)]
        assert len(out) >= min(ends)
    else:
        assert not ends
        assert out + matcher.flush() == text


def test_only_text_that_may_begin_a_stop_string_is_held_back():
    matcher = StopMatcher(["\n\nUser:"])
    assert matcher.push("Hi\n") == "Hi"
    assert matcher.push("\nUse") == ""
    assert matcher.push("less") == "\n\nUseless"
    assert matcher.push("\n\nUser: x") == ""
    assert matcher.stopped


@given(
    st.lists(st.tuples(st.text("abc", max_size=6), st.booleans()), max_size=10),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_hidden_text_is_matched_and_not_returned(pieces, stops):
    plain, matcher = StopMatcher(stops), StopMatcher(stops)
    whole = out = ""
    for text, shown in pieces:
        whole += plain.push(text)
        out += matcher.push(text, shown)
    whole += plain.flush()
    out += matcher.flush()
    mask = [shown for text, shown in pieces for _ in text]
    assert (matcher.stopped, matcher.released) == (plain.stopped, len(whole))
    assert out == "".join(char for char, shown in zip(whole, mask, strict=False) if shown)
