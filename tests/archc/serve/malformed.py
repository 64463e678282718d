"""Malformed requests, as strategies of hypothesis: bodies over the fields of the API, and bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as types

from archc.serve.schema import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    RerankRequest,
    ResponseRequest,
    TokenizeRequest,
)

REQUESTS: dict[str, type[msgspec.Struct]] = {
    "/v1/completions": CompletionRequest,
    "/v1/chat/completions": ChatRequest,
    "/v1/responses": ResponseRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/rerank": RerankRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
}
# Names and words of objects whose fields the API leaves open: messages, tools, formats and JSON schemas.
_NAMES = (
    *("role", "content", "type", "text", "name", "function", "parameters", "strict", "json_schema", "schema", "format"),
    *("tool_calls", "arguments", "call_id", "id", "output", "summary", "properties", "required", "items", "enum"),
    *("const", "pattern", "anyOf", "$ref", "minimum", "maxLength", "additionalProperties", "description"),
)
_WORDS = (
    *("user", "system", "assistant", "tool", "developer", "text", "function", "json_schema", "json_object", "required"),
    *("auto", "none", "string", "object", "array", "integer", "message", "function_call", "function_call_output"),
    *("input_text", "output_text", "reasoning", "base64", "a", "add", "#", "[a-z]+", "{}"),
)
_TEXT = st.sampled_from(_WORDS) | st.text(max_size=8)
_NUMBERS = st.integers(-2, 5) | st.integers() | st.floats()
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=10,
)
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def _value(kind: types.Type) -> st.SearchStrategy[Any]:
    """Return values of a type of the API."""
    match kind:
        case types.UnionType():
            return st.one_of(*map(_value, kind.types))
        case types.BoolType():
            return st.booleans()
        case types.IntType():
            return st.sampled_from((*range(-1, 6), 10**30)) | st.integers(0, 1000)
        case types.FloatType():
            return st.floats(0, 1) | st.floats()
        case types.StrType():
            return _TEXT
        case types.LiteralType():
            return st.sampled_from(kind.values)
        case types.ListType():
            return st.lists(_value(kind.item_type), max_size=4)
        case types.DictType():
            keys = (
                st.sampled_from(_NAMES) if isinstance(kind.key_type, types.StrType) else st.integers(-2, 1100).map(str)
            )
            return st.dictionaries(keys, _value(kind.value_type), max_size=4)
        case types.StructType():
            return _body(kind)
        case types.NoneType():
            return st.none()
        case types.AnyType():
            return _JSON
    raise AssertionError(kind)


@st.composite
def _body(draw: st.DrawFn, kind: types.StructType) -> dict[str, Any]:
    """Draw an object with the required fields of a struct and a few others, of which some have a wrong type."""
    fields = {field.name: _value(field.type) for field in kind.fields}
    # Answers are short, so that there can be many.
    lengths = {name: st.integers(1, 3) for name in fields if name in _LENGTHS}
    required = {field.name for field in kind.fields if field.required}
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=4))
    body = {name: draw(fields[name]) for name in (*required, *chosen)}
    body |= {name: draw(values) for name, values in lengths.items()}
    if draw(st.integers(0, 2)) == 0:
        body[draw(st.sampled_from(sorted(fields)))] = draw(_JSON)
    return body


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a path, and the JSON of a body."""
    path = draw(st.sampled_from(sorted(REQUESTS)))
    kind = types.type_info(REQUESTS[path])
    assert isinstance(kind, types.StructType)
    body = draw(_body(kind) if draw(st.integers(0, 9)) else _JSON)
    return path, json.dumps(body).encode()


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a path, and a body of any bytes, or JSON of which a part is lost or replaced."""
    path, content = draw(requests())
    begin = draw(st.integers(0, len(content)))
    end = draw(st.integers(begin, len(content)))
    noise = draw(st.binary(max_size=20) | st.sampled_from((b"", b"[" * 5000, b'{"a":' * 5000, b"\\ud800", b"1e999")))
    return path, draw(st.just(content[:begin] + noise + content[end:]) | st.binary(max_size=60))


@st.composite
def raw(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a connection: an HTTP request with wrong lines, lengths or chunks."""
    path, content = draw(requests())
    lines = [
        draw(st.sampled_from((f"POST {path} HTTP/1.1", f"GET {path} HTTP/9", "BREW / HTTP/1.1", "POST", "\0"))),
        "Host: a",
        draw(
            st.sampled_from((f"Content-Length: {len(content)}", "Content-Length: -1", "Content-Length: 1e3", "X: \xff"))
        ),
        draw(
            st.sampled_from(("Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: websocket", "A" * 70_000))
        ),
    ]
    chosen = [line for line in lines if draw(st.booleans())]
    end = draw(st.sampled_from((b"\r\n", b"\n", b"\r\n0\r\n", b"\r\nfffffffffffffffff\r\n", b"")))
    return "\r\n".join([*chosen, ""]).encode("latin-1") + end + draw(st.just(content) | st.binary(max_size=60))
