"""Clients for Python against a server of the plans of `run.py`; a client that is not installed is an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

URL = sys.argv[1]
QUESTION = [{"role": "user", "content": "What is 12+30?"}]
SCHEMA: dict[str, Any] = {
    "title": "Sum",
    "description": "A sum",
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["sum"],
    "additionalProperties": False,
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"enum": [1, 2]}, "b": {"enum": [3]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}


def check(name: str, value: object, expected: object) -> None:
    print(f"{name}: {value!r}")
    if value != expected:
        raise SystemExit(f"FAILED: {name}: expected {expected!r}")


def raised(kind: type[Exception], function: Callable[[], object]) -> Any:
    """Return the exception of a call that has to fail."""
    try:
        function()
    except kind as error:
        return error
    raise SystemExit(f"FAILED: no {kind.__name__}")


def is_call(name: str, arguments: dict[str, Any]) -> bool:
    return name == "add" and arguments.keys() == {"a", "b"} and arguments["b"] == 3


def with_openai() -> None:
    import openai

    client = openai.OpenAI(base_url=URL, api_key="none", max_retries=0)
    chat: Any = client.chat.completions
    check("models", [model.id for model in client.models.list()], ["tiny", "words"])
    answer = chat.create(model="tiny", messages=QUESTION)
    check("chat", (answer.choices[0].message.content, answer.usage.completion_tokens), ("42", 2))
    parts = list(chat.create(model="tiny", messages=QUESTION, stream=True, stream_options={"include_usage": True}))
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    check("streamed chat", (text, parts[-1].usage.completion_tokens), ("42", 2))
    answer = chat.create(model="tiny", messages=QUESTION, tools=[TOOL], tool_choice="required", max_tokens=120)
    (call,) = answer.choices[0].message.tool_calls
    check("tool call", is_call(call.function.name, json.loads(call.function.arguments)), True)
    form = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}
    answer = chat.create(model="tiny", messages=QUESTION, response_format=form, max_tokens=60)
    check("json_schema", list(json.loads(answer.choices[0].message.content)), ["sum"])
    vectors: Any = client.embeddings.create(model="words", input=["w1 w2", "w9"], dimensions=4)
    check("embeddings", ([len(item.embedding) for item in vectors.data], vectors.usage.total_tokens), ([4, 4], 3))
    response: Any = client.responses.create(model="tiny", input="What is 12+30?")
    check("responses", (response.output_text, response.usage.output_tokens), ("42", 2))
    with client.responses.stream(model="tiny", input="What is 12+30?") as stream:
        check("streamed responses", stream.until_done().get_final_response().output_text, "42")
    error = raised(openai.BadRequestError, lambda: chat.create(model="tiny", messages=QUESTION, temperature=-1))
    check("error", (error.status_code, error.param), (400, "temperature"))
    error = raised(openai.NotFoundError, lambda: chat.create(model="nothing", messages=QUESTION))
    check("unknown model", error.code, "model_not_found")


def with_langchain() -> None:
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    where: dict[str, Any] = {"base_url": URL, "api_key": "none", "max_retries": 0}
    model = ChatOpenAI(model="tiny", **where)
    answer: Any = model.invoke("What is 12+30?")
    check("invoke", (answer.content, answer.usage_metadata["output_tokens"]), ("42", 2))
    check("stream", "".join(str(part.content) for part in model.stream("What is 12+30?")), "42")
    bound = model.bind_tools([TOOL], tool_choice="required")
    (call,) = bound.invoke("What is 12+30?").tool_calls
    check("bind_tools", is_call(call["name"], call["args"]), True)
    structured = model.with_structured_output(SCHEMA, method="json_schema").invoke("What is 12+30?")
    check("with_structured_output", list(structured), ["sum"])
    answer = ChatOpenAI(model="tiny", use_responses_api=True, **where).invoke("What is 12+30?")
    check("responses", answer.text, "42")
    embed = OpenAIEmbeddings(model="words", check_embedding_ctx_length=False, **where)
    check("embed_documents", [len(row) for row in embed.embed_documents(["w1 w2", "w9"])], [32, 32])


def with_litellm() -> None:
    import litellm

    litellm.suppress_debug_info = True
    where: dict[str, Any] = {"api_base": URL, "api_key": "none"}
    answer: Any = litellm.completion(model="openai/tiny", messages=QUESTION, **where)
    check("completion", (answer.choices[0].message.content, answer.usage.completion_tokens), ("42", 2))
    parts: Any = litellm.completion(model="openai/tiny", messages=QUESTION, stream=True, **where)
    check("streamed completion", "".join(part.choices[0].delta.content or "" for part in parts), "42")
    answer = litellm.completion(
        model="openai/tiny", messages=QUESTION, tools=[TOOL], tool_choice="required", max_tokens=120, **where
    )
    (call,) = answer.choices[0].message.tool_calls
    check("tools", is_call(call.function.name, json.loads(call.function.arguments)), True)
    vectors: Any = litellm.embedding(model="openai/words", input=["w1 w2", "w9"], encoding_format="float", **where)
    check("embedding", [len(item["embedding"]) for item in vectors.data], [32, 32])
    ranked: Any = litellm.rerank(
        model="jina_ai/words", query="w1", documents=["w9", "w1 w1"], api_base=f"{URL}/rerank", api_key="none"
    )
    check("rerank", [result["index"] for result in ranked.results], [1, 0])
    response: Any = litellm.responses(model="openai/tiny", input="What is 12+30?", **where)
    check("responses", response.output[0].content[0].text, "42")
    wrong: dict[str, Any] = {"model": "openai/tiny", "messages": QUESTION, "temperature": -1, **where}
    error = raised(litellm.BadRequestError, lambda: litellm.completion(**wrong))
    check("error", "temperature: expected a number" in str(error), True)


if __name__ == "__main__":
    for name, run in (("openai", with_openai), ("langchain-openai", with_langchain), ("litellm", with_litellm)):
        print(f"== {name} {version(name)}")
        run()
        sys.stdout.flush()
