"""The translation of every torch operator that components call."""

from __future__ import annotations

from archc.compiler.ops import experts, key_blocks, latent_attention, operators, recurrences
from archc.compiler.ops.registry import TRANSLATIONS
from archc.compiler.tracing.aten import ATEN

# Importing an operator's module registers its translation.
OPERATORS = (experts, key_blocks, latent_attention, operators, recurrences)
TRANSLATIONS.update(ATEN)

__all__ = ["OPERATORS", "TRANSLATIONS"]
