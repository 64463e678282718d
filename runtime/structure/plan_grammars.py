"""Grammars over the vocabulary of a plan."""

from __future__ import annotations

import threading
from collections.abc import Callable

from archc.plan.manifest import Manifest
from archc.runtime.errors import PromptError
from archc.runtime.structure.constraint import Constraint
from archc.runtime.structure.grammar import Grammar, GrammarCompiler
from archc.runtime.text.tokenizer import Tokenizer


class PlanGrammars:
    """Compiles grammars for the outputs of a plan; reads the tokenizer on first use. May be used in any thread."""

    def __init__(self, manifest: Manifest, tokenizer: Callable[[], Tokenizer | None]) -> None:
        self._manifest, self._tokenizer = manifest, tokenizer
        self._lock = threading.Lock()
        self._compiler: GrammarCompiler | None = None

    def constraint(self, grammar: Grammar | None) -> Constraint | None:
        """Return a new constraint, or None without a grammar.

        Raises PromptError for a grammar that is invalid or too large, and for a plan whose tokenizer has no
        tokenizer.json: RWKV's vocabularies of bytes, and models with a vocabulary for each language.
        """
        if grammar is None:
            return None
        with self._lock:
            if self._compiler is None:
                self._compiler = self._open(grammar)
            compiler = self._compiler
        return compiler.constraint(grammar)

    def _open(self, grammar: Grammar) -> GrammarCompiler:
        tokenizer = self._tokenizer()
        definition = tokenizer.definition if tokenizer is not None else None
        if definition is None:
            has = "has no tokenizer" if tokenizer is None else "has another kind of tokenizer"
            raise PromptError(f"{grammar.kind}: not supported, because the plan {has}; tokenizer.json is required")
        return GrammarCompiler(definition, self._manifest.limits.vocab_size, self._manifest.tokens.eos)
