"""OpenAI's Responses API, as its own client speaks it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from archc.runtime import Engine
from archc.serve.answers import FunctionCall, Message, ToolCall
from archc.serve.response_input import as_chat
from archc.serve.response_items import Items
from archc.serve.schema import ResponseRequest
from tests.archc.serve.conftest import Running
from tests.archc.serve.test_demands import SCHEMA, TOOLS

PATH = "/v1/responses"
QUESTION = "What is 12+30?"


def test_a_text_is_answered(server: Running, engine: Engine) -> None:
    response = server.client.responses.create(model="tiny", input=QUESTION)
    assert (response.output_text, response.status, response.error) == ("42", "completed", None)
    (message,) = response.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")
    assert response.usage is not None
    assert response.usage.input_tokens == len(engine.tokenizer.chat_ids([{"role": "user", "content": QUESTION}]))
    assert response.usage.output_tokens == 2
    assert response.usage.total_tokens == response.usage.input_tokens + 2
    assert response.usage.output_tokens_details.reasoning_tokens == 0


def test_a_conversation_with_instructions_is_that_of_the_chat_endpoint(server: Running) -> None:
    turns: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": text} for text in ("What is ", "1+2?")]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "3"}]},
        {"role": "user", "content": QUESTION},
    ]
    messages: Any = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is 1+2?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": QUESTION},
    ]
    response = server.client.responses.create(model="tiny", instructions="Be short.", input=turns, max_output_tokens=9)
    chat = server.client.chat.completions.create(model="tiny", messages=messages, max_tokens=9)
    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens


def test_a_stream_has_all_events(server: Running) -> None:
    with server.client.responses.create(model="tiny", input=QUESTION, stream=True) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert kinds == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *(["response.output_text.delta"] * len(deltas)),
        *("response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"),
    ]
    assert "".join(deltas) == "42"
    last: Any = events[-1]
    assert last.response.output_text == "42"
    assert last.response.usage.output_tokens == 2
    assert events[0].response.id == last.response.id  # type: ignore[union-attr]


def test_the_helper_of_the_client_reads_a_stream(server: Running) -> None:
    with server.client.responses.stream(model="tiny", input=QUESTION) as stream:
        assert stream.until_done().get_final_response().output_text == "42"


def test_an_answer_past_the_limit_is_incomplete(server: Running) -> None:
    response = server.client.responses.create(model="tiny", input=QUESTION, max_output_tokens=1)
    assert (response.output_text, response.status) == ("4", "incomplete")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_json_schema_holds(server: Running) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "sum", "schema": SCHEMA}}
    response = server.client.responses.create(model="tiny", input=QUESTION, text=form, max_output_tokens=60)
    jsonschema.validate(json.loads(response.output_text), SCHEMA)


def test_functions_are_called_and_their_outputs_are_input(calling: Running) -> None:
    tool = {"type": "function", **TOOLS[0]["function"]}
    ask: Any = {"model": "calling", "input": [{"role": "user", "content": QUESTION}], "tools": [tool]}
    for choice in ("required", {"type": "function", "name": "add"}):
        response: Any = calling.client.responses.create(**ask, tool_choice=choice, max_output_tokens=120)
        (call,) = response.output
        assert (call.type, call.name, call.status) == ("function_call", "add", "completed")
        jsonschema.validate(json.loads(call.arguments), tool["parameters"])
    with calling.client.responses.create(**ask, tool_choice="required", stream=True, max_output_tokens=120) as stream:
        events: Any = list(stream)
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta") == done.arguments
    assert events[-1].response.output[0].arguments == done.arguments == call.arguments
    turns = [*ask["input"], call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "3"}]
    assert calling.client.responses.create(model="calling", input=turns, max_output_tokens=5).status in (
        "completed",
        "incomplete",
    )


def test_reasoning_text_and_calls_are_items() -> None:
    items = Items()
    call = ToolCall(0, "call_1", FunctionCall("add", "{}"))
    parts = [
        [Message(reasoning_content="one ")],
        [Message(reasoning_content="moment"), Message(content="It ")],
        [Message(content="is"), Message(tool_calls=[call])],
    ]
    events = [event for each in parts for event in items.push(each)]
    events += items.close()
    assert items.reasoning_tokens == 2
    assert [item["type"] for item in items.items] == ["reasoning", "message", "function_call"]
    assert [item["status"] for item in items.items] == ["completed"] * 3
    assert [item["content"][0]["text"] for item in items.items[:2]] == ["one moment", "It is"]
    assert (items.items[2]["call_id"], items.items[2]["arguments"]) == ("call_1", "{}")
    for index in range(3):
        kinds = [event["type"] for event in events if event["output_index"] == index]
        assert (kinds[0], kinds[-1]) == ("response.output_item.added", "response.output_item.done")


def test_items_are_messages_of_the_chat() -> None:
    calls = [{"type": "function_call", "call_id": name, "name": "add", "arguments": "{}"} for name in ("c1", "c2")]
    outputs = [{"type": "function_call_output", "call_id": name, "output": "3"} for name in ("c1", "c2")]
    items = [{"role": "user", "content": "a"}, {"type": "reasoning", "summary": []}, *calls, *outputs]
    chat = as_chat(ResponseRequest(input=items, instructions="b", tool_choice={"type": "function", "name": "add"}))
    made = [{"id": name, "type": "function", "function": {"name": "add", "arguments": "{}"}} for name in ("c1", "c2")]
    assert chat.messages == [
        {"role": "system", "content": "b"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": made},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "tool", "tool_call_id": "c2", "content": "3"},
    ]
    assert chat.tool_choice == {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 3}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "message"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": [{"type": "function_call", "name": "a", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": "a", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "a", "background": True}, "background"),
        ({"input": "a", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "a b " * 2000}, "input"),
        ({"input": "a", "text": {"format": {"type": "xml"}}}, "text.format.type"),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_invalid_requests(server: Running, body: object, param: str | None) -> None:
    answer = server.post(PATH, body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(param or "object")
