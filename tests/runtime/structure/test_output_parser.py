"""Tool calls and reasoning in answers, in the formats of the specs, split at every place."""

from __future__ import annotations

from functools import cache
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archc.archspec import load_spec
from archc.archspec.vocabulary import Text
from archc.compiler.text.family import chat_format
from archc.plan.chat_format import ChatFormat
from archc.runtime.structure.output_parser import Delta, OutputParser, ToolCall

QWEN, PYTHON_TAG = "<tool_call></tool_call></think>", '{"name": "f", "parameters": {}}'
WEATHER = '{"city": "Öl"}'
CALL = ToolCall(0, "weather", WEATHER)
TWO = [CALL, ToolCall(1, "time", "{}")]
SEP, BEGIN, END = "<｜tool▁sep｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"

# Family, a text of its chat template, the answer, and its parts.
ANSWERS: dict[str, tuple[str, str, str, list[object]]] = {
    "qwen": (
        "qwen3",
        QWEN,
        f'<think>\nHm < 3.\n</think>\n\nLook: <tool_call>\n{{"name": "weather", "arguments": {WEATHER}}}\n'
        "</tool_call>\n"
        '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>',
        ["R:Hm < 3.\n", "C:Look: ", *TWO],
    ),
    "llama": ("llama", PYTHON_TAG, f'{{"name": "weather", "parameters": {WEATHER}}}', [CALL]),
    "llama-tag": ("llama", PYTHON_TAG, f'<|python_tag|>{{"name": "weather", "parameters": {WEATHER}}}', [CALL]),
    "llama-text": ("llama", PYTHON_TAG, '{"answer": 3}', ['C:{"answer": 3}']),
    "mistral": (
        "mistral",
        "[TOOL_CALLS]",
        f'[TOOL_CALLS][{{"name": "weather", "arguments": {WEATHER}, "id": "a"}}, '
        '{"name": "time", "arguments": {}}]',
        list(TWO),
    ),
    "mistral-args": ("mistral", "[TOOL_CALLS]", f"[TOOL_CALLS]weather[ARGS]{WEATHER}", [CALL]),
    "mistral-two": (
        "mistral",
        "[TOOL_CALLS]",
        f"[TOOL_CALLS]weather[CALL_ID]aB3dE6gH9[ARGS]{WEATHER}[TOOL_CALLS]time[CALL_ID]000000001[ARGS]{{}}",
        list(TWO),
    ),
    "deepseek-v3": (
        "deepseek-v3",
        f"```json{SEP}",
        f"<｜tool▁calls▁begin｜>{BEGIN}function{SEP}weather\n```json\n{WEATHER}\n```{END}\n{BEGIN}function{SEP}time\n"
        f"```json\n{{}}\n```{END}<｜tool▁calls▁end｜>",
        list(TWO),
    ),
    "glm4": ("glm4", "<|observation|>", f"weather\n{WEATHER}", [CALL]),
    "glm4-text": ("glm4", "<|observation|>", "weather is good", ["C:weather is good"]),
    "command-r": (
        "command-r",
        "Action:",
        f'Action: ```json\n[{{"tool_name": "weather", "parameters": {WEATHER}}}, {{"tool_name": "time"}}]\n```',
        list(TWO),
    ),
    "gpt-oss": (
        "gpt-oss",
        "<|channel|>commentary<|channel|>analysis<|message|><|end|>",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.weather json"
        f"<|message|>{WEATHER}",
        ["R:Hm.", CALL],
    ),
    "gpt-oss-text": (
        "gpt-oss",
        "<|channel|>commentary<|end|>",
        "<|channel|>final<|message|>Hi <there>.",
        ["C:Hi <there>."],
    ),
    "another-tool": (
        "qwen2",
        QWEN,
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>!',
        ['C:<tool_call>{"name": "rm", "arguments": {}}</tool_call>!'],
    ),
    "cut": ("qwen2", QWEN, 'a <tool_call>{"name": "wea', ['C:a <tool_call>{"name": "wea']),
    "partial": ("qwen2", QWEN, "a <tool_c", ["C:a <tool_c"]),
}


@cache
def settings_of(family: str) -> Text:
    spec = load_spec(family)
    return spec.bind(size=next(iter(spec.sizes))).text_settings


def format_of(family: str, template: str) -> ChatFormat:
    found = chat_format({"chat_template.jinja": template.encode()}, settings_of(family))
    assert found is not None
    return found


def parts(deltas: list[Delta]) -> list[object]:
    """Return texts of one kind joined, with R: or C: in front, and the calls."""
    groups = groupby(deltas, lambda delta: delta if isinstance(delta, ToolCall) else delta.kind[0].upper() + ":")
    return [
        kind if isinstance(kind, ToolCall) else kind + "".join(d.text for d in items)  # type: ignore[union-attr]
        for kind, items in groups
    ]


def parsed(case: str, pieces: list[str]) -> list[Delta]:
    family, template, _, _ = ANSWERS[case]
    parser = OutputParser(format_of(family, template), ["weather", "time"])
    deltas = [delta for piece in pieces for delta in parser.push(piece)]
    return deltas + parser.finish()


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_of_each_format(case: str) -> None:
    _, _, text, expected = ANSWERS[case]
    assert parts(parsed(case, [text])) == expected
    assert parts(parsed(case, list(text))) == expected


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(0, 250), max_size=12))
def test_parts_do_not_depend_on_the_pieces(case: str, cuts: list[int]) -> None:
    _, _, text, expected = ANSWERS[case]
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[first:last] for first, last in pairwise(ends)]
    assert parts(parsed(case, pieces)) == expected


def test_no_part_of_a_mark_is_content() -> None:
    parser = OutputParser(format_of("qwen2", QWEN), ["weather"])
    assert parts(parser.push("Look: <tool_")) == ["C:Look: "]
    assert parts(parser.push("box>")) == ["C:<tool_box>"]


def test_without_tools_calls_are_content() -> None:
    text = ANSWERS["mistral"][2]
    parser = OutputParser(format_of("mistral", "[TOOL_CALLS]"))
    assert parts(parser.push(text) + parser.finish()) == ["C:" + text]


def test_an_answer_after_the_mark_of_reasoning_begins_with_it() -> None:
    parser = OutputParser(format_of("qwen3", QWEN), prompt="<|im_start|>assistant\n<think>\n")
    assert parts(parser.push("Hm.</think>Yes.") + parser.finish()) == ["R:Hm.", "C:Yes."]


def test_a_template_without_any_mark_has_no_format() -> None:
    assert chat_format({"chat_template.jinja": b"{{ messages }}"}, settings_of("qwen3")) is None
    assert chat_format({}, settings_of("qwen3")) is None
