"""The process that renders a chat template: a JSON request on stdin, a JSON response on stdout. See chat.py."""

from __future__ import annotations

import json
import sys
from typing import Any


def limit(seconds: float, memory: int) -> None:
    """Set the resource limits of this process, in seconds and bytes, where the operating system supports them."""
    try:
        import resource
    except ImportError:  # not on Windows, where only the parent's timeout applies
        return
    whole = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    if sys.platform == "linux":  # elsewhere a limit of the address space has no effect or breaks the allocator
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def environment() -> Any:
    """Return the sandbox with the functions and tags that chat templates use."""
    from datetime import datetime

    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The tag `{% generation %}…{% endgeneration %}`, a mark for training; here only its body is rendered."""

        tags = {"generation"}  # noqa: RUF012 (declared without ClassVar in jinja2)

        def parse(self, parser: Any) -> Any:
            """Return the nodes between the tags."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: object) -> None:
        raise TemplateError(str(message))

    def tojson(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        # The filter of jinja2 escapes < and > for HTML.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation], cache_size=0
    )
    sandbox.filters["tojson"] = tojson
    sandbox.globals["raise_exception"] = raise_exception
    sandbox.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return sandbox


def main() -> None:
    """Render one request."""
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
                raise ValueError(f"the output has more than {request['characters']} characters")
        answer["text"] = "".join(pieces)
    except MemoryError:
        answer["error"] = f"more than {request['memory'] >> 20} MiB of memory used"
    except RecursionError:
        answer["error"] = "nesting or recursion too deep"
    except Exception as error:  # any exception is an error of the untrusted template
        line = getattr(error, "lineno", None)
        answer["error"] = f"{type(error).__name__}: {str(error)[:500]}" + (f" (line {line})" if line else "")
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
