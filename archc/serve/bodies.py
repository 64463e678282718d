"""Bodies of requests, up to a limit."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from archc.serve.errors import ApiError


async def read_body(request: Request) -> bytes:
    """Return the body; raise ApiError past the server's limit."""
    limit: int = request.app.state.context.options.max_body
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        raise _too_large(limit)
    chunks, size = list[bytes](), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise ApiError(499, "the client has gone") from None
    return b"".join(chunks)


def _too_large(limit: int) -> ApiError:
    message = f"body: expected at most {limit:,} bytes; send a shorter request"
    return ApiError(413, message, code="request_too_large", headers={"Connection": "close"})
