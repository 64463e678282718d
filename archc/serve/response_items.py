"""The output of a response: items that an answer becomes part by part, and the events that a stream has for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from archc.serve.answers import Message, ToolCall

Item = dict[str, Any]
Event = dict[str, Any]

_TEXT, _REASONING = "output_text", "reasoning_text"


class Items:
    """Output items in order; the last one may be open. `reasoning_tokens` are those whose text is reasoning."""

    def __init__(self) -> None:
        self.items = list[Item]()
        self.reasoning_tokens = 0
        self._open: str | None = None  # the type of the open item's part

    def push(self, parts: Sequence[Message]) -> Iterator[Event]:
        """Append the parts that one token completes; yield events."""
        self.reasoning_tokens += any(isinstance(part.reasoning_content, str) for part in parts)
        for part in parts:
            if isinstance(part.reasoning_content, str):
                yield from self._append(_REASONING, part.reasoning_content)
            if isinstance(part.content, str) and part.content:
                yield from self._append(_TEXT, part.content)
            if isinstance(part.tool_calls, list):
                for call in part.tool_calls:
                    yield from self._call(call)

    def close(self, status: str = "completed") -> Iterator[Event]:
        """End the open item; yield events. An answer without any text has an empty message."""
        if not self.items:
            yield from self._begin(_TEXT)
        if self._open is None:
            return
        item, kind = self.items[-1], self._open
        self._open = None
        item["status"] = status
        (part,) = item["content"]
        more: Event = {"logprobs": []} if kind == _TEXT else {}
        yield self._event(f"response.{kind}.done", content_index=0, text=part["text"], **more)
        yield self._event("response.content_part.done", content_index=0, part=part)
        yield self._item_event("done")

    def _append(self, kind: str, text: str) -> Iterator[Event]:
        if self._open != kind:
            yield from self.close() if self._open is not None else ()
            yield from self._begin(kind)
        self.items[-1]["content"][0]["text"] += text
        more: Event = {"logprobs": []} if kind == _TEXT else {}
        yield self._event(f"response.{kind}.delta", content_index=0, delta=text, **more)

    def _begin(self, kind: str) -> Iterator[Event]:
        self._open = kind
        item: Item = {"status": "in_progress", "content": []}
        if kind == _TEXT:
            item |= {"id": _new_id("msg"), "type": "message", "role": "assistant"}
            part: Item = {"type": kind, "text": "", "annotations": [], "logprobs": []}
        else:
            item |= {"id": _new_id("rs"), "type": "reasoning", "summary": []}
            part = {"type": kind, "text": ""}
        self.items.append(item)
        yield self._item_event("added")
        item["content"].append(part)
        yield self._event("response.content_part.added", content_index=0, part=dict(part))

    def _call(self, call: ToolCall) -> Iterator[Event]:
        yield from self.close() if self._open is not None else ()
        name, arguments = call.function.name, call.function.arguments
        item = {"id": _new_id("fc"), "type": "function_call", "status": "in_progress", "call_id": call.id}
        self.items.append({**item, "name": name, "arguments": ""})
        yield self._item_event("added")
        yield self._event("response.function_call_arguments.delta", delta=arguments)
        yield self._event("response.function_call_arguments.done", name=name, arguments=arguments)
        self.items[-1] |= {"status": "completed", "arguments": arguments}
        yield self._item_event("done")

    def _item_event(self, verb: str) -> Event:
        item = self.items[-1]
        if "content" in item:
            item = {**item, "content": list(item["content"])}
        return {"type": f"response.output_item.{verb}", "output_index": len(self.items) - 1, "item": dict(item)}

    def _event(self, kind: str, **fields: Any) -> Event:
        return {"type": kind, "item_id": self.items[-1]["id"], "output_index": len(self.items) - 1, **fields}


def drain(events: Iterable[Event]) -> None:
    """Run an iterator of events that nobody reads."""
    for _ in events:
        pass


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
