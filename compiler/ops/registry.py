"""The registry of translations: which nodes a torch operator becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Translation = Callable[..., Any]
"""Takes the operator's arguments, tensors as `ir.Value`; returns the results' values."""

T = TypeVar("T", bound=Translation)

TRANSLATIONS: dict[Any, Translation] = {}
"""Every translation by torch operator."""


def translates(operator: Any) -> Callable[[T], T]:
    """Register a function as the translation of a torch operator overload."""

    def register(translation: T) -> T:
        TRANSLATIONS[operator] = translation
        return translation

    return register
