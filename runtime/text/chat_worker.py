"""The process that renders a chat template: a JSON request on stdin, a JSON response on stdout. See chat.py."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
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


@cache
def strftime_now(form: str) -> str:
    """Return the local time; the same one for all renderings of a request."""
    from datetime import datetime

    return datetime.now().strftime(form)


def environment(trace: Any = None) -> Any:
    """Return the sandbox with the functions and tags of chat templates; `trace` is the module chat_trace, if used."""
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

    sandbox_type = trace.traced_environment(ImmutableSandboxedEnvironment) if trace else ImmutableSandboxedEnvironment
    sandbox = sandbox_type(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[loopcontrols, Generation],
        cache_size=0,
        finalize=trace.text_of if trace else None,
    )
    sandbox.filters["tojson"] = tojson
    sandbox.globals["raise_exception"] = raise_exception
    sandbox.globals["strftime_now"] = strftime_now
    if trace:
        trace.trace_filters(sandbox.filters)
    return sandbox


def pieces(sandbox: Any, template: str, variables: dict[str, Any], characters: int) -> list[str]:
    """Return the output in pieces; raise ValueError if it is too long."""
    output: list[str] = []
    left = characters
    for piece in sandbox.from_string(template).generate(variables):
        output.append(piece)
        left -= len(piece)
        if left < 0:
            raise ValueError(f"the output has more than {characters} characters")
    return output


def untrusted_spans(request: dict[str, Any], text: str) -> list[tuple[int, int]] | None:
    """Return the ranges of `text` that come from untrusted variables, or None if they cannot be determined."""
    spec = importlib.util.spec_from_file_location("chat_trace", Path(__file__).with_name("chat_trace.py"))
    if spec is None or spec.loader is None:
        return None
    trace = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trace)
    variables = {
        name: trace.trace(value) if name in request["untrusted"] else value
        for name, value in request["variables"].items()
    }
    try:
        traced = trace.concat(pieces(environment(trace), request["template"], variables, request["characters"]))
    except Exception:  # an operation that traced strings do not support
        return None
    ranges: list[tuple[int, int]] = trace.spans(traced)
    return ranges if str.__eq__(traced, text) else None


def main() -> None:
    """Render one request."""
    request = json.load(sys.stdin)
    sys.path[:] = request["path"]
    limit(request["seconds"], request["memory"])
    answer: dict[str, Any] = {}
    try:
        answer["text"] = "".join(
            pieces(environment(), request["template"], request["variables"], request["characters"])
        )
        answer["untrusted"] = untrusted_spans(request, answer["text"]) if request["untrusted"] else []
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
