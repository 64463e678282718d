"""GET /: a page with a chat and the architecture of each plan, in one file that sends requests to this server alone."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


async def page(_request: Request) -> Response:
    """GET /."""
    content, policy = _load()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return Response(content, headers=headers, media_type="text/html")


@cache
def _load() -> tuple[bytes, str]:
    """Return the page and its policy, which allows the page's script and style by their hashes, and nothing else."""
    content = files(__name__).joinpath("index.html").read_bytes()
    sources = [f"{match[1].decode()}-src 'sha256-{_hash(match[2])}'" for match in _INLINE.finditer(content)]
    fixed = [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return content, "; ".join([*fixed, *sources])


def _hash(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
