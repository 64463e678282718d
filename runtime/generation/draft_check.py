"""The comparison of a plan with one that proposes its tokens."""

from __future__ import annotations

import json
from typing import Any

from archc.plan.reader import Plan
from archc.runtime.errors import EngineError
from archc.runtime.generation.speculation import can_speculate
from archc.runtime.text.tokenizer import FOLDER, Tokenizer

_CONFIG = ("added_tokens.json", "chat_template.jinja", "special_tokens_map.json", "tokenizer_config.json")


def check_draft(plan: Plan, draft: Plan) -> None:
    """Raise EngineError unless `draft` can propose tokens of `plan`: decoders with the same tokens by id."""
    place = f"draft {draft.path}"
    for each in (plan, draft):
        manifest = each.manifest
        if manifest.topology != "decoder":
            raise EngineError(
                f"{place}: expected two decoders, and {each.path} is an {manifest.topology}; leave out the draft"
            )
        if not can_speculate(manifest):
            raise EngineError(
                f"{place}: {manifest.family} on {manifest.target} in {each.path} cannot take tokens back; leave out "
                "the draft, or build with --target ort-cpu"
            )
    own, other = plan.manifest.limits.vocab_size, draft.manifest.limits.vocab_size
    if own != other:
        raise EngineError(
            f"{place}: expected the vocabulary of {plan.path}, {own} tokens, got {other}; use a smaller model of the "
            "same family"
        )
    if _vocabulary(plan) != _vocabulary(draft):
        raise EngineError(
            f"{place}: the tokenizer has other tokens than that of {plan.path}; use a smaller model of the same family"
        )


def _vocabulary(plan: Plan) -> Any:
    """Return what assigns tokens to ids, to be compared; None for a plan without a tokenizer."""
    tokenizer = Tokenizer.from_plan(plan)
    if tokenizer is None:
        return None
    if tokenizer.definition is None:
        names = [name for name in plan.names if name.startswith(FOLDER) and name.removeprefix(FOLDER) not in _CONFIG]
        return {name: plan.read(name) for name in names}
    definition = json.loads(tokenizer.definition)
    added = {token["id"]: token["content"] for token in definition.get("added_tokens") or ()}
    return definition["model"].get("vocab"), added
