"""Classes of transformers by the endings of their names: language models, and tasks on top of the same model."""

from __future__ import annotations

from collections.abc import Iterable

_LANGUAGE_MODELS = ("ForCausalLM", "ForMaskedLM", "LMHeadModel", "Model")
HEADS_OF_CLASSES = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
_TASKS = (*HEADS_OF_CLASSES, "Model")


def shares_model(names: Iterable[str], known: Iterable[str]) -> bool:
    """Return whether one of `names` is a task's class for the model of one of the `known` classes."""
    stems = {stem for name in known if (stem := _stem(name, _LANGUAGE_MODELS)) is not None}
    return any(_stem(name, _TASKS) in stems for name in names)


def _stem(name: str, endings: tuple[str, ...]) -> str | None:
    """Return the part of a class's name before its ending, or None if it has none of these."""
    return next((name.removesuffix(ending) for ending in endings if name.endswith(ending)), None)
