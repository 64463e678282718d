"""The names of a checkpoint's classes, and the function from their logits to scores; both are in config.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from archc.archspec.vocabulary import ClassesHead, Head
from archc.plan.records import Classes

Activation = Literal["softmax", "sigmoid", "none"]

_BY_PROBLEM: Mapping[str, Activation] = {
    "regression": "none",
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
}
# The classes of torch that cross-encoders of sentence-transformers name.
_BY_CLASS: Mapping[str, Activation] = {"Identity": "none", "Sigmoid": "sigmoid", "Softmax": "softmax"}


def describe_classes(head: Head, config: Mapping[str, Any] | None, warn: Callable[[str], None]) -> Classes | None:
    """Return the classes of a head, or None for another head; a class without a name in the config is LABEL_<id>.

    The function is that of `problem_type`, or of the cross-encoder; by default sigmoid for one class, softmax for more.
    """
    if not isinstance(head, ClassesHead):
        return None
    if head.per == "span":
        return Classes(per="span", names=("start", "end"), activation="softmax")
    config = config or {}
    labels = config.get("id2label")
    stated = {str(key): name for key, name in labels.items()} if isinstance(labels, dict) else {}
    names = tuple(str(stated.get(str(index), f"LABEL_{index}")) for index in range(head.labels))
    return Classes(per=head.per, names=names, activation=_activation(config, head.labels, warn))


def _activation(config: Mapping[str, Any], count: int, warn: Callable[[str], None]) -> Activation:
    default: Activation = "sigmoid" if count == 1 else "softmax"
    settings = config.get("sentence_transformers")
    name = settings.get("activation_fn") if isinstance(settings, dict) else None
    name = name or config.get("sbert_ce_default_activation_function")
    if isinstance(name, str):
        kind = name.rpartition(".")[2].partition("(")[0]
        if kind in _BY_CLASS:
            return _BY_CLASS[kind]
        warn(f"config.json: the activation {name:.80} of a cross-encoder is not supported; scores have {default}")
    problem = config.get("problem_type")
    return _BY_PROBLEM.get(problem, default) if isinstance(problem, str) else default
