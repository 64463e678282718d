"""Tools of a request, and the grammars of response_format and tool_choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from archc.plan.chat_format import Calls, ChatFormat
from archc.runtime import PromptError
from archc.runtime.structure.grammar import Grammar, GrammarCompiler
from archc.runtime.structure.output_parser import OutputParser, ToolCall
from archc.runtime.structure.tools import Tool, constraint_for, parse_tools

FILE = Path(__file__).parents[3] / "examples" / "tiny-qwen2" / "tokenizer.json"
END = 1020  # <|endoftext|>
CITY = {"type": "object", "properties": {"city": {"enum": ["Öl", "Ulm"]}}, "required": ["city"]}
CITY["additionalProperties"] = False
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": CITY}},
    {"type": "function", "function": {"name": "time"}},
]
HERMES = ChatFormat(calls=Calls(begin=("<tool_call>",), end="</tool_call>"))
SPECIAL = ChatFormat(calls=Calls(begin=("<|user|>",), separator="[ARGS]"))
BARE = ChatFormat(calls=Calls(separator="\n", bare=True))
LLAMA = ChatFormat(calls=Calls(begin=("<|python_tag|>",), arguments="parameters", bare=True))


def test_tools_have_the_form_of_templates() -> None:
    tools = parse_tools(TOOLS)
    assert [tool.name for tool in tools] == ["weather", "time"]
    assert tools[0].template_value == TOOLS[0]
    assert tools[1].parameters == {"type": "object", "properties": {}}
    assert parse_tools(None) == []


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ("x", "tools: expected a list of at most 128 tools"),
        ([{}] * 129, "tools: expected a list of at most 128 tools"),
        ([{"type": "retrieval"}], r"tools\[0\]: expected"),
        ([{"function": {"name": "a b"}}], r"tools\[0\].function.name: expected 1 to 64 letters"),
        ([{"function": {"name": "a", "description": 3}}], "description: expected a text, got int"),
        ([{"function": {"name": "a", "parameters": []}}], "parameters: expected a JSON schema, got list"),
        ([TOOLS[0], TOOLS[0]], "tools: weather occurs twice"),
    ],
    ids=["text", "many", "type", "name", "description", "parameters", "twice"],
)
def test_invalid_tools_are_explained(tools: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        parse_tools(tools)


@pytest.fixture(scope="module")
def tokenizer() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(FILE))


@pytest.mark.parametrize("chat_format", [HERMES, SPECIAL, BARE, LLAMA], ids=["hermes", "special", "bare", "llama"])
@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=["required", "named"]
)
def test_a_call_that_is_demanded_is_parsed(
    tokenizer: tokenizers.Tokenizer, chat_format: ChatFormat, choice: object
) -> None:
    special = {item.content: number for number, item in tokenizer.get_added_tokens_decoder().items() if item.special}
    grammar = constraint_for(None, choice, parse_tools(TOOLS), chat_format, special)
    assert grammar is not None
    compiler = GrammarCompiler(tokenizer.to_str(), tokenizer.get_vocab_size(), [END])
    random = np.random.default_rng(3)
    for _ in range(5):
        constraint, tokens = compiler.constraint(grammar), list[int]()
        while not tokens or tokens[-1] != END:
            scores = random.normal(size=tokenizer.get_vocab_size()).astype(np.float32)
            tokens.append(int(constraint.apply(scores).argmax()))
            constraint.accept(tokens[-1])
            assert len(tokens) < 200
        parser = OutputParser(chat_format, ["weather", "time"])
        deltas = parser.push(tokenizer.decode(tokens[:-1], skip_special_tokens=False)) + parser.finish()
        assert len(deltas) == 1
        assert isinstance(deltas[0], ToolCall)
        if choice != "required":
            assert (deltas[0].name, deltas[0].arguments) in [
                ("weather", f'{{"city": "{city}"}}') for city in ("Öl", "Ulm")
            ]


def test_response_formats() -> None:
    assert constraint_for(None) is constraint_for({"type": "text"}) is constraint_for(None, "auto") is None
    assert constraint_for({"type": "json_object"}) == Grammar("json_schema", '{"type": "object"}')
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    assert constraint_for(wanted) == Grammar("json_schema", '{"type": "integer"}')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"type": "xml"},), "response_format.type: expected text, json_object or json_schema"),
        (({"type": "json_schema"},), "response_format: expected"),
        ((None, "required"), "tool_choice: expected `tools` next to it"),
        ((None, "sometimes", [Tool("a")]), "tool_choice: expected none, auto, required, or a function among a"),
        ((None, "required", [Tool("a")]), "tool_choice: the chat format of this plan has no tool calls"),
        (({"type": "json_object"}, "required", [Tool("a")], HERMES), "tool_choice: a call contradicts response_format"),
    ],
    ids=["type", "schema", "tools", "choice", "format", "both"],
)
def test_invalid_requests_are_explained(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        constraint_for(*arguments)
