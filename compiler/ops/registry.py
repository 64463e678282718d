"""The registry of translations: which nodes a torch operator becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Translation = Callable[..., Any]
"""Takes the operator's arguments, tensors as `ir.Value`; returns the results' values."""

T = TypeVar("T", bound=Translation)

TRANSLATIONS: dict[Any, Translation] = {}
"""Every translation by torch operator."""


NEW_AXES: dict[Any, tuple[int, Callable[..., str]]] = {}
"""Operators whose result has an axis that is no formula of those of its arguments: its index, and its name by them."""


def introduces(operator: Any, axis: int) -> Callable[[T], T]:
    """Register a function as the name of an axis that the result of a torch operator overload introduces."""

    def register(name: T) -> T:
        NEW_AXES[operator] = (axis, name)
        return name

    return register


def translates(operator: Any) -> Callable[[T], T]:
    """Register a function as the translation of a torch operator overload."""

    def register(translation: T) -> T:
        TRANSLATIONS[operator] = translation
        return translation

    return register
