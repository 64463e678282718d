"""POST /v1/responses: OpenAI's Responses API, by way of the chat format of the plan."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from archc.runtime.serving.job import Event, Finished, Token
from archc.serve.answers import encode
from archc.serve.bodies import read_body
from archc.serve.chat import Parts, encode_chat
from archc.serve.context import Context
from archc.serve.errors import ApiError
from archc.serve.forms import reason_of
from archc.serve.generation import Generation, leased, start
from archc.serve.prompts import chat_messages
from archc.serve.replies import EventStream, collected, gone, json_response
from archc.serve.response_input import as_chat, renamed
from archc.serve.response_items import Items, drain
from archc.serve.schema import ResponseRequest, decode


async def responses(request: Request) -> Response:
    """POST /v1/responses."""
    asked = decode(ResponseRequest, await read_body(request))
    chat = as_chat(asked)
    context: Context = request.app.state.context
    try:
        messages = chat_messages(chat.messages)
        async with AsyncExitStack() as stack:
            model = await stack.enter_async_context(leased(context, chat.model))
            generation = await start(context, model, chat, lambda service: [encode_chat(service, chat, messages)])
            reply = _Reply(generation, asked)
            if asked.stream:
                return EventStream(generation, reply, stack.pop_all())
            tokens = await collected(generation, request.receive)
            if tokens is None:
                return gone()
            for token in tokens[0]:
                reply.of(0, token)
            reply.of(0, generation.finished[0])
            return json_response(reply.response())
    except ApiError as error:
        raise renamed(error) from None
    raise AssertionError  # the stack suppresses no exception


class _Reply:
    """The response to a request, and the events of its stream."""

    def __init__(self, generation: Generation, asked: ResponseRequest) -> None:
        self._generation, self._asked, self._items = generation, asked, Items()
        demands, service = generation.demands, generation.model.loaded
        self._parts = Parts(demands.parser(service, generation.prompts[0]))
        self._status, self._count = "in_progress", 0
        self._error: dict[str, str] | None = None

    def begin(self) -> bytes:
        """Return the first events."""
        return self._encode({"type": f"response.{name}", "response": self.response()} for name in _FIRST)

    def of(self, index: int, event: Event) -> bytes:
        """Return the events for an event of the job, which the response has from then on."""
        match event:
            case Token(text=text) if text:
                return self._encode(self._items.push(self._parts.push(text)))
            case Finished():
                self._status = "incomplete" if reason_of(event) == "length" else "completed"
                return self._encode([*self._items.push(self._parts.finish()), *self._items.close(self._status)])
            case _:
                return b""

    def end(self) -> bytes:
        """Return the last event."""
        return self._encode([{"type": f"response.{self._status}", "response": self.response()}])

    def failed(self, error: ApiError) -> bytes:
        """Return the last events after an error."""
        drain(self._items.close("incomplete"))
        self._status = "failed"
        self._error = {"code": error.body.error.code or "server_error", "message": str(error)}
        return self.end()

    def response(self) -> dict[str, Any]:
        """Return the response as it is at present."""
        asked, generation, status = self._asked, self._generation, self._status
        head = generation.head
        return {
            "id": f"resp_{head.id}",
            "object": "response",
            "created_at": head.created,
            "model": head.model,
            "status": status,
            "error": self._error,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": self._items.items,
            "usage": self._usage() if status in ("completed", "incomplete") else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": asked.temperature,
            "text": asked.text or {"format": {"type": "text"}},
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "top_p": asked.top_p,
            "truncation": "disabled",
        }

    def _usage(self) -> dict[str, Any]:
        usage = self._generation.usage
        details = usage.prompt_tokens_details
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": details,
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self._items.reasoning_tokens},
            "total_tokens": usage.total_tokens,
        }

    def _encode(self, events: Iterable[dict[str, Any]]) -> bytes:
        body = b""
        for event in events:
            data = encode({**event, "sequence_number": self._count})
            body += b"event: " + event["type"].encode() + b"\ndata: " + data + b"\n\n"
            self._count += 1
        return body


_FIRST = ("created", "in_progress")
