"""The process in which a chat template runs: a JSON request on stdin, one JSON answer on stdout.  See chat.py."""

from __future__ import annotations

import json
import sys
from typing import Any


def limit(seconds: float, memory: int) -> None:
    """Let the system end this process past its time and refuse it memory past its share, where the system can."""
    try:
        import resource
    except ImportError:  # not on Windows: there only the parent's clock guards
        return
    whole = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    if sys.platform == "linux":  # elsewhere a limit on the address space is not honoured or breaks the allocator
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def environment() -> Any:
    """Return the sandbox, with the few extras that chat templates expect."""
    from datetime import datetime

    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}…{% endgeneration %}` marks the assistant's words for training; here it is only its body."""

        tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

        def parse(self, parser: Any) -> Any:
            """Return the nodes between the tags."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: object) -> None:
        raise TemplateError(str(message))

    def tojson(
        value: object, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None,
        sort_keys: bool = False,
    ) -> str:  # fmt: skip
        # jinja2's own would escape < and > for HTML.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation], cache_size=0
    )
    sandbox.filters["tojson"] = tojson
    sandbox.globals["raise_exception"] = raise_exception
    sandbox.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return sandbox


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    limit(request["seconds"], request["memory"])
    answer: dict[str, str] = {}
    try:
        pieces: list[str] = []
        left = request["characters"]
        for piece in environment().from_string(request["template"]).generate(request["variables"]):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise ValueError(f"it wrote more than {request['characters']} characters")
        answer["text"] = "".join(pieces)
    except MemoryError:
        answer["error"] = f"it used more than {request['memory'] >> 20} MiB"
    except RecursionError:
        answer["error"] = "it is nested or calls itself too deeply"
    except Exception as error:  # whatever a stranger's template raises is the template's fault
        line = getattr(error, "lineno", None)
        answer["error"] = f"{type(error).__name__}: {str(error)[:500]}" + (f" (line {line})" if line else "")
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
