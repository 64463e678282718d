"""Response formats, grammars and tools over HTTP, as OpenAI's client asks for them."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from archc.plan.chat_format import Calls, ChatFormat, Reasoning
from archc.runtime.structure.output_parser import OutputParser
from archc.serve.chat import Parts, joined
from tests.archc.serve.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "What is 12+30?"}]
SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["sum"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"a": {"enum": [1, 2]}, "b": {"enum": [3]}},
                "required": ["a", "b"],
                "additionalProperties": False,
            },
        },
    }
]


def test_a_json_schema_holds(server: Running) -> None:
    answer = server.client.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}},
    )
    assert answer.choices[0].message.content is not None
    jsonschema.validate(json.loads(answer.choices[0].message.content), SCHEMA)


def test_a_regular_expression_holds(server: Running) -> None:
    body = {"model": "tiny", "prompt": "37+85=", "max_tokens": 20, "regex": "[a-c]{3}"}
    answer = server.post("/v1/completions", body).json()
    assert re.fullmatch("[a-c]{3}", answer["choices"][0]["text"])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"response_format": {"type": "xml"}}, id="unknown format"),
        pytest.param({"response_format": {"type": "json_object"}, "regex": "a"}, id="two grammars"),
        pytest.param({"tool_choice": "required"}, id="no tools"),
        pytest.param({"tools": [{"type": "function"}]}, id="a tool without a name"),
        pytest.param({"tools": TOOLS, "tool_choice": "required"}, id="a plan without tool calls"),
    ],
)
def test_demands_that_cannot_be_met_are_refused(server: Running, body: dict[str, Any]) -> None:
    answer = server.post("/v1/chat/completions", {"model": "tiny", "messages": MESSAGES, **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_call_that_is_required_is_made(calling: Running) -> None:
    options: Any = {"messages": MESSAGES, "tools": TOOLS, "tool_choice": "required", "max_tokens": 120}
    (choice,) = calling.client.chat.completions.create(model="calling", **options).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "add"
    jsonschema.validate(json.loads(call.function.arguments), TOOLS[0]["function"]["parameters"])

    with calling.client.chat.completions.create(model="calling", stream=True, **options) as stream:
        chunks = [chunk.choices[0] for chunk in stream]
    calls = [call for chunk in chunks for call in chunk.delta.tool_calls or []]
    assert [(made.function.name, made.function.arguments) for made in calls if made.function is not None] == [
        (call.function.name, call.function.arguments)
    ]
    assert chunks[-1].finish_reason == "tool_calls"
    assert not any(chunk.delta.content for chunk in chunks)


def test_reasoning_is_apart_from_the_answer() -> None:
    chat_format = ChatFormat(
        calls=Calls(begin=("<call>",), end="</call>"), reasoning=Reasoning(begin="<r>", end="</r>")
    )
    parts = Parts(OutputParser(chat_format, ["add"]))
    texts = ["<r>one", " moment</", "r>It is", ' 42<call>{"name": "add", "arg', 'uments": {}}</call>']
    message = joined([*(part for text in texts for part in parts.push(text)), *parts.finish()])
    assert (message.reasoning_content, message.content) == ("one moment", "It is 42")
    assert isinstance(message.tool_calls, list)
    assert [(call.function.name, call.function.arguments) for call in message.tool_calls] == [("add", "{}")]
