"""The lines of an `archc inspect` report that only plans have: signature, limits, engines, entries."""

from __future__ import annotations

import json
from typing import Any

from archc.cli.console import columns


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """Return the lines of a plan's manifest, as built-in types; none for a spec, which has no manifest."""
    if not plan:
        return []
    tokens, limits = plan["tokens"], plan["limits"]
    entries = [(name, f"{entry['bytes']:,}", entry["sha256"]) for name, entry in plan["entries"].items()]
    lines = [
        "",
        f"plan {plan['path']}: {plan['file_bytes']:,} bytes, format {plan['format']}, by archc {plan['archc']}",
        f"target {plan['target']}, dtype {plan['dtype']}, quantization {plan['quantization'] or 'none'}",
        f"maximum length {limits['max_seq_len']:,} tokens, vocabulary {limits['vocab_size']:,}; "
        f"bos {_ids(tokens['bos'])}, eos {_ids(tokens['eos'])}, pad {_ids(tokens['pad'])}",
        *_encoder_lines(plan),
        *_generation_lines(plan),
        *([f"a chat ends at {', '.join(map(_setting, plan['chat_stop']))}"] if plan["chat_stop"] else []),
        *_engine_lines(plan),
        "built with " + ", ".join(f"{name} {text}" for name, text in plan["builder"].items()),
        "",
        *columns(None, _signature(plan)),
    ]
    if entries:
        lines += ["", *columns(("ENTRY", "BYTES", "SHA-256"), entries, right=(1,))]
    if plan.get("check", {}).get("ok"):
        lines.append("checked: the SHA-256 of every entry matches")
    return lines


def _signature(plan: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the table of inputs, outputs and state, headers included."""
    rows = [("INPUT", "ROLE", "DTYPE", "SHAPE")]
    rows += [(i["name"], _role(i), i["dtype"], _shape(i["shape"])) for i in plan["inputs"]]
    rows.append(("OUTPUT", "ROLE", "DTYPE", "SHAPE"))
    rows += [(o["name"], o["role"], o["dtype"], _shape(o["shape"])) for o in plan["outputs"]]
    if plan["encoder"] is not None:
        encoder = plan["encoder"]
        rows += [(i["name"], f"encoder {_role(i)}", i["dtype"], _shape(i["shape"])) for i in encoder["inputs"]]
        rows += [(o["name"], f"encoder {o['role']}", o["dtype"], _shape(o["shape"])) for o in encoder["outputs"]]
    if plan["state"]:
        rows.append(("STATE", "KIND", "DTYPE", "SHAPE"))
        rows += [(s["input"], s["kind"], s["dtype"], _shape(s["shape"])) for s in plan["state"]]
    return rows


def _encoder_lines(plan: dict[str, Any]) -> list[str]:
    """Return the limits of an encoder-decoder's source, and the tokens of its decoder prompt."""
    if plan["encoder"] is None:
        return []
    limits, tokens = plan["encoder"]["limits"], plan["tokens"]
    return [
        f"source: maximum length {limits['max_seq_len']:,} tokens, vocabulary {limits['vocab_size']:,}; "
        f"decoder start {_ids(tokens['start'])}, never generated {_ids(tokens['never'])}"
    ]


def _generation_lines(plan: dict[str, Any]) -> list[str]:
    """Return the plan's generation defaults, the settings of the checkpoint."""
    settings = plan["generation"]
    if not settings:
        return []
    return ["generation defaults: " + ", ".join(f"{name} {_setting(value)}" for name, value in settings.items())]


def _setting(value: object) -> str:
    """Return a setting as JSON, without spaces, and at most 60 characters of it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _engine_lines(plan: dict[str, Any]) -> list[str]:
    """Return builder, devices, profiles and in-place caches of each TensorRT engine."""
    lines = []
    for engine in (plan["engine"], (plan["encoder"] or {}).get("engine")):
        if engine is None:
            continue
        devices = ", ".join(engine["compute_capabilities"])
        weights = " and ".join(filter(None, (plan["dtype"], plan["quantization"])))
        streamed = ", streamed from host memory" if engine["weight_streaming"] else ""
        size = plan["entries"][engine["file"]]["bytes"]
        lines.append(
            f"{engine['file']}: {size:,} bytes by {engine['builder']} {engine['version']} for compute capability "
            f"{devices}, weights in {weights}{streamed}"
        )
        for profile in engine["profiles"]:
            sizes = ", ".join(f"{axis} {least} to {most}" for axis, (least, _, most) in profile["axes"].items())
            lines.append(f"  {profile['name']}: {sizes}")
        if engine["aliased"]:
            pairs = [f"{past} as {present}" for past, present in engine["aliased"]]
            shown = pairs if len(pairs) < 3 else [pairs[0], "…", pairs[-1]]
            slots = f" of {engine['capacity']:,} slots" if engine["capacity"] is not None else ""
            lines.append(f"  in place: {len(pairs)} caches{slots}: {', '.join(shown)}")
    return lines


def _role(item: dict[str, Any]) -> str:
    mask = item["mask"]
    if mask is None:
        return str(item["role"])
    limit = "chunks of" if mask["chunked"] else "window"
    return f"{mask['kind']} mask" + (f", {limit} {mask['window']}" if mask["window"] else "")


def _shape(shape: list[int | str]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _ids(value: int | tuple[int, ...] | None) -> str:
    ids = value if isinstance(value, tuple) else [] if value is None else [value]
    return ",".join(map(str, ids)) or "none"
