"""`archc run` with the plan of an encoder: scores of classes, spans, or a summary of the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from archc.cli.commands.generation_options import option_name
from archc.cli.console import UsageError, write_json

if TYPE_CHECKING:
    from archc.plan.records import Classes
    from archc.runtime import Engine
    from archc.runtime.generation.sampling import Floats
    from archc.runtime.text.pairs import Encoded


def run_encoder(engine: Engine, rows: Encoded, text: str | None, options: dict[str, Any], as_json: bool) -> None:
    """Print the outputs for one text or pair; `text` is the one that the characters of `rows` are in, None for ids."""
    for name in options:
        raise UsageError(
            f"{option_name(name)} has no effect, because {engine.manifest.family} is an encoder; remove it"
        )
    types = [rows.types] if any(rows.types) else None
    functions = {
        "hidden_states": engine.encode,
        "logits": engine.logits,
        "pooled": engine.pooled,
        "classes": engine.classify,
    }
    results = {output.role: functions[output.role]([rows.ids], types)[0] for output in engine.manifest.outputs}
    classes = engine.manifest.classes
    if as_json:
        values: dict[str, Any] = {role: result.tolist() for role, result in results.items()}
        if classes is not None:
            values["scores"] = _scores(classes, rows, text, results["classes"])
        write_json({"prompt_ids": rows.ids, "output_ids": [], "text": None, **values, "timing": engine.timing})
        return
    if classes is not None:
        for line in _lines(classes, rows, text, results["classes"]):
            print(line)
        return
    print(f"{len(rows.ids)} tokens: {','.join(map(str, rows.ids))}")
    for role, result in results.items():
        first = " ".join(f"{value:.4f}" for value in result.reshape(-1)[:4])
        print(
            f"{role} {list(result.shape)}: mean {result.mean():.4f}, std {result.std():.4f}, "
            f"from {result.min():.4f} to {result.max():.4f}, first {first}"
        )


def _scores(classes: Classes, rows: Encoded, text: str | None, logits: Floats) -> Any:
    """Return scores by label; a list of them for tokens, and the first and last token of a span with its text."""
    from archc.runtime.state.scores import best_span, class_scores

    if classes.per == "span":
        # Without a text, every token may be in the span.
        allowed = [place is not None for place in rows.characters] if text is not None else [True] * len(rows.ids)
        span = best_span(logits, allowed)
        if span is None:
            return None
        first, last = rows.characters[span.first], rows.characters[span.last]
        found = text[first[0] : last[1]] if text is not None and first is not None and last is not None else None
        return {"first": span.first, "last": span.last, "text": found, "score": span.score}
    values = class_scores(logits, classes.activation)
    if classes.per == "sequence":
        return _by_label(classes, values)
    return [_by_label(classes, row) for row in values]


def _by_label(classes: Classes, values: Sequence[float] | Floats) -> dict[str, float]:
    return {name: float(value) for name, value in zip(classes.names, values, strict=True)}


def _lines(classes: Classes, rows: Encoded, text: str | None, logits: Floats) -> list[str]:
    """Return a line for each label, the highest score first; for each token, its best label; or the span."""
    found = _scores(classes, rows, text, logits)
    if classes.per == "span":
        if found is None:
            return ["no span: the text is empty"]
        shown = found["text"] if found["text"] is not None else f"tokens {found['first']} to {found['last']}"
        return [f"{found['score']:.4f}  {shown}"]
    if classes.per == "sequence":
        ranked = sorted(found.items(), key=lambda item: -item[1])
        return [f"{score:.4f}  {name}" for name, score in ranked]
    lines = []
    for token, place, scored in zip(rows.ids, rows.characters, found, strict=True):
        name = max(scored, key=scored.__getitem__)
        piece = text[place[0] : place[1]] if text is not None and place is not None else str(token)
        lines.append(f"{scored[name]:.4f}  {name}  {piece}")
    return lines
