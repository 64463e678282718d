"""The outputs and greedy tokens of the plan under verification."""

from __future__ import annotations

from archc.runtime.engine import Engine
from archc.runtime.errors import NonFiniteLogitsError, PromptError
from archc.verify.prompts import Ids, answer_start
from archc.verify.references import Floats


def plan_outputs(engine: Engine, rows: list[Ids], answers: list[Ids]) -> dict[str, list[Floats]]:
    """Return the plan's outputs by role, one [seq, …] for each prompt of one ragged batch; `pooled` is [hidden],
    `classes` of a sequence [labels].
    """
    if answers:
        logits, hidden = engine.logits(rows, decoder_ids=answers), engine.encode(rows)
        return {
            "logits": [values[: len(answer)] for values, answer in zip(logits, answers, strict=True)],
            "hidden_states": [values[: len(row)] for values, row in zip(hidden, rows, strict=True)],
        }
    functions = {
        "logits": engine.logits,
        "hidden_states": engine.encode,
        "pooled": engine.pooled,
        "classes": engine.classify,
    }
    results = {output.role: functions[output.role](rows) for output in engine.manifest.outputs}
    return {
        role: [values[i] if values.ndim == 2 else values[i, : len(row)] for i, row in enumerate(rows)]
        for role, values in results.items()
    }


def plan_tokens(engine: Engine, rows: list[Ids], answers: list[Ids], new_tokens: int) -> tuple[list[Ids], bool]:
    """Return the plan's greedy tokens for each prompt, and whether an overflow ended them early."""
    written: list[Ids] = [[] for _ in rows]
    if engine.manifest.topology == "encoder":
        return written, False
    limit = engine.manifest.limits.max_seq_len
    start = answer_start(engine.manifest, answers)
    if start is None and any(len(row) >= limit for row in rows):
        raise PromptError(f"a prompt fills the plan's {limit} tokens and leaves no room for new ones; shorten it")
    try:
        engine.generate(
            rows,
            max_new_tokens=new_tokens,
            ignore_eos=True,
            bad_words_ids=[[token] for token in engine.manifest.tokens.never],
            defaults=False,
            on_token=lambda row, token: written[row].append(token),
            decoder_ids=[start] * len(rows) if start is not None else None,
        )
    except NonFiniteLogitsError:
        return written, True
    return written, False
