"""Serving on many machines with Ray Serve: `serve run archc.serve.ray:app plan=engine.plan`.

`gateway` receives requests over HTTP, `router` chooses a replica by the beginning of the prompt, and `replica` is the
application of `archc serve` in a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def app(args: Mapping[str, Any]) -> Any:
    """Build the application of Ray Serve from the arguments of `serve run` or of a config file; see docs/deploy.md.

    Raises RayOptionsError for arguments that are not valid.
    """
    from archc.serve.ray.deployment import build
    from archc.serve.ray.options import parse_options

    return build(parse_options(args))
