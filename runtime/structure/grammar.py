"""Grammars that limit the output: JSON schema, regular expression, Lark; compiled by llguidance for a vocabulary."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import BackendError, PromptError

if TYPE_CHECKING:
    import llguidance

Floats = NDArray[np.float32]
T = TypeVar("T")
Kind = Literal["json_schema", "regex", "grammar"]

MAX_CHARACTERS = 128 << 10
SECONDS = 1.5
_KEPT = 32  # compiled grammars
_WORKERS = 4  # threads that compile; one past its time keeps its place until it ends
# Limits of llguidance: of a grammar (steps of the lexer, symbols) and of one token (steps, Earley items).
_LIMITS = {
    "initial_lexer_fuel": 1_000_000,
    "max_grammar_size": 200_000,
    "max_lexer_states": 50_000,
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "max_items_in_row": 2_000,
    "verbose_errors": False,
}
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_compiling = threading.BoundedSemaphore(_WORKERS)


@dataclass(frozen=True)
class Grammar:
    """The rule that an output as a whole obeys.

    `json_schema`: one line of JSON that is valid under a schema, written as `, ` and `: ` separate it. `regex`: a match
    of a regular expression of Rust's dialect, without look-around. `grammar`: a sentence of a Lark grammar, in the
    dialect of llguidance. Raises PromptError for an empty text, or one of more than 131,072 characters.
    """

    kind: Kind
    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text:
            raise PromptError(f"{self.kind}: expected a text that is not empty, got {self.text!r:.40}")
        if len(self.text) > MAX_CHARACTERS:
            raise PromptError(
                f"{self.kind}: expected at most {MAX_CHARACTERS:,} characters, got {len(self.text):,}; simplify it"
            )

    @classmethod
    def from_schema(cls, schema: str | Mapping[str, Any] | bool) -> Grammar:
        """Return the grammar of a JSON schema, an object or its JSON text; raise PromptError unless it is one."""
        if not isinstance(schema, str):
            try:
                schema = json.dumps(schema, ensure_ascii=False)
            except (TypeError, ValueError, RecursionError) as error:
                raise PromptError(f"json_schema: not representable as JSON: {error}; pass an object") from None
        grammar = cls("json_schema", schema)
        try:
            value = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise PromptError(f"json_schema: not JSON: {error}; pass the text of a JSON schema") from None
        if not isinstance(value, Mapping | bool):
            raise PromptError(f"json_schema: expected an object, got {type(value).__name__}")
        return grammar if isinstance(value, Mapping) else cls("json_schema", "{}" if value else '{"not": {}}')


class GrammarCompiler:
    """Compiles grammars for one vocabulary; may be used in any thread.

    `definition` is the content of tokenizer.json, `vocab_size` the number of the model's ids, `ends` the tokens that
    end an output. Raises PromptError for a tokenizer that llguidance does not support, or without end tokens;
    BackendError if the package llguidance is missing.
    """

    def __init__(self, definition: str, vocab_size: int, ends: Sequence[int]) -> None:
        if not ends:
            raise PromptError("grammar: the plan has no end-of-sequence token, which ends the output of a grammar")
        try:
            import llguidance
        except ImportError:
            raise BackendError(
                "grammar: the package llguidance is missing; pip install 'archc-compiler[grammar]'"
            ) from None
        self._library = llguidance
        self._vocab_size = vocab_size
        try:
            self._tokenizer = llguidance.LLTokenizer(definition, n_vocab=vocab_size, eos_token=sorted(set(ends)))
        except ValueError as error:
            raise PromptError(f"grammar: llguidance does not support the plan's tokenizer: {error}") from None
        self._limits = llguidance.LLParserLimits(**_LIMITS)  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._compiled = OrderedDict[Grammar, llguidance.LLMatcher]()

    def constraint(self, grammar: Grammar, seconds: float = SECONDS) -> GrammarConstraint:
        """Return a constraint at the beginning of a grammar.

        Raises PromptError for an invalid or too large grammar, and after `seconds`.
        """
        with self._lock:
            matcher = self._compiled.get(grammar)
        if matcher is None:
            matcher = _in_time(lambda: self._compile(grammar), grammar.kind, seconds)
            with self._lock:
                self._compiled[grammar] = matcher
                if len(self._compiled) > _KEPT:
                    self._compiled.popitem(last=False)
        return GrammarConstraint(matcher.deep_copy(), self._vocab_size, grammar.kind)

    def _compile(self, grammar: Grammar) -> llguidance.LLMatcher:
        matcher_type = self._library.LLMatcher
        try:
            if grammar.kind == "json_schema":
                text = matcher_type.grammar_from_json_schema(grammar.text, overrides=_COMPACT)  # type: ignore[arg-type]
            elif grammar.kind == "regex":
                text = matcher_type.grammar_from_regex(grammar.text)
            else:
                text = matcher_type.grammar_from_lark(grammar.text)
        except ValueError as error:
            raise PromptError(f"{grammar.kind}: {str(error)[:300]}; correct it") from None
        matcher = matcher_type(self._tokenizer, text, log_level=0, limits=self._limits)
        if not matcher.is_error():
            matcher.compute_bitmask()  # the first one is the slowest
        if matcher.is_error():
            raise PromptError(f"{grammar.kind}: {_one_line(matcher)}; correct or simplify it")
        return matcher


class GrammarConstraint:
    """A position in the output of a grammar: the tokens that may come next, and end tokens where it is complete."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int, kind: Kind) -> None:
        self._matcher, self._vocab_size, self._kind = matcher, vocab_size, kind

    def apply(self, logits: Floats) -> Floats:
        """Return the logits, float32 [vocab], with -inf for tokens that must not come next.

        Raises PromptError if a step exceeds the limits of time and memory.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        allowed = np.unpackbits(bits, bitorder="little")[: self._vocab_size].astype(bool)
        result: Floats = np.where(allowed, logits, np.float32(-np.inf))
        return result

    def accept(self, token: int) -> None:
        """Note a token that was chosen; raise PromptError if the grammar does not permit it."""
        self._matcher.consume_token(token)
        self._check()

    def fork(self) -> GrammarConstraint:
        """Return a constraint at the same position, without an effect on this one."""
        return GrammarConstraint(self._matcher.deep_copy(), self._vocab_size, self._kind)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise PromptError(f"{self._kind}: {_one_line(self._matcher)}; simplify it, or remove other rules")


def _one_line(matcher: llguidance.LLMatcher) -> str:
    return " ".join(matcher.get_error().split())[:300]


def _in_time(function: Callable[[], T], place: str, seconds: float) -> T:
    """Return the result of a function that releases the interpreter; raise PromptError after that time."""
    end = time.monotonic() + seconds
    if not _compiling.acquire(timeout=seconds):
        raise PromptError(f"{place}: other grammars are being compiled; repeat the request later")
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except Exception as error:  # handed to the waiting thread
            future.set_exception(error)
        finally:
            _compiling.release()

    threading.Thread(target=work, name="archc-grammar", daemon=True).start()
    try:
        return future.result(max(0.0, end - time.monotonic()))
    except FutureTimeoutError:
        raise PromptError(f"{place}: not compiled within {seconds:g} seconds; simplify it") from None
