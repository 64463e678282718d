"""A plan as a service: requests of many threads, computed together."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from archc.plan.manifest import Manifest
from archc.plan.reader import ENCODER, MANIFEST, PACKED, Plan
from archc.runtime.backends import open_backend
from archc.runtime.backends.huge_pages import use_huge_pages
from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.backends.prepack import PREPACK_DEFAULT, Prepack
from archc.runtime.engine import Engine
from archc.runtime.errors import EngineError, PromptError
from archc.runtime.generation.batch import open_row
from archc.runtime.generation.draft_check import check_draft
from archc.runtime.generation.draft_plan import Drafter
from archc.runtime.generation.draft_speculation import DRAFT_TOKENS, draft_speculation
from archc.runtime.generation.options import SamplingOptions
from archc.runtime.generation.settings import Settings, choose_settings, forced_start
from archc.runtime.generation.speculation import Speculate, check_speculation, open_speculation
from archc.runtime.inputs.prompts import check_ids
from archc.runtime.serving.cache_file import CachedPrompt, Layout
from archc.runtime.serving.draft_slots import DraftSlots
from archc.runtime.serving.job import Event, Failed, Job, Listener, Token
from archc.runtime.serving.scheduler import Budget, Scheduler
from archc.runtime.serving.slots import Slots
from archc.runtime.serving.statistics import Statistics
from archc.runtime.state.cache import check_state
from archc.runtime.state.encoder import EncodedSource, EncoderRunner, check_decoder_ids
from archc.runtime.state.slot_states import Snapshot
from archc.runtime.structure.constraint import Constraint
from archc.runtime.structure.plan_grammars import PlanGrammars
from archc.runtime.text.tokenizer import Tokenizer

# Calls of many rows take another form of int4 products, which rounds otherwise: an answer would depend on whether its
# prompt was computed next to others.
_INT4_TOKENS = 192


@dataclass(frozen=True)
class ServiceOptions:
    """Options of a service: sequences at a time, requests that wait beyond them, bytes of caches, CPU threads.

    `draft` is a smaller plan with the same vocabulary, which proposes up to `draft_tokens` tokens ahead.
    """

    slots: int = 8
    queue: int = 64
    cache_bytes: int | None = None
    threads: int | None = None
    prepack: Prepack = PREPACK_DEFAULT
    budget: Budget = field(default_factory=Budget)
    speculate: Speculate = "auto"  # of requests that set none
    draft: Path | None = None
    draft_tokens: int = DRAFT_TOKENS


class Service:
    """A loaded plan whose requests share calls of the graph. All methods may be called in any thread.

    Raises PlanError for an invalid plan, BackendError if its backend is missing, EngineError for a plan without a graph
    for many sequences.
    """

    def __init__(self, path: str | os.PathLike[str], options: ServiceOptions | None = None) -> None:
        self.options = options or ServiceOptions()
        if self.options.slots < 1:
            raise EngineError(f"slots: expected at least 1, got {self.options.slots}")
        self.started = time.time()
        self.plan = Plan(path)
        self.draft: Plan | None = None
        try:
            self._open()
        except BaseException:
            self._close_plans()
            raise
        use_huge_pages()

    def _open(self) -> None:
        plan, options = self.plan, self.options
        manifest = self.manifest = plan.manifest
        check_state(manifest)
        self.tokenizer: Tokenizer | None = Tokenizer.from_plan(plan)
        self._grammars = PlanGrammars(manifest, lambda: self.tokenizer)
        self._encoder: EncoderRunner | None = None
        self.speculation = open_speculation(manifest)
        self._cached: tuple[tuple[int, ...], EncodedSource] | None = None
        self.engine: Engine | None = None
        if manifest.topology == "encoder":
            # Texts of an encoder have no state: each request is one call.
            if options.draft is not None:
                raise EngineError(
                    f"draft: {manifest.family} is an encoder, which generates nothing; leave out the draft"
                )
            self.engine = Engine(plan, open_backend(plan, options.threads, options.prepack))
            self.scheduler: Scheduler | None = None
            return
        if manifest.packed is None:
            raise EngineError(
                f"{plan.path}: the plan has no graph for many sequences; build it again with --target ort-cpu"
            )
        if manifest.encoder is not None:
            backend = open_backend(plan, options.threads, options.prepack, ENCODER)
            self._encoder = EncoderRunner(manifest.encoder, backend)
        packed = open_backend(plan, options.threads, options.prepack, PACKED)
        assert isinstance(packed, OrtBackend)
        budget = options.budget
        if manifest.quantization == "int4":
            budget = replace(budget, alone=min(budget.alone, _INT4_TOKENS))
        slots = Slots(manifest, packed, options.slots, options.cache_bytes)
        if options.draft is not None:
            self._open_draft(options.draft, slots, budget.alone)
        self.scheduler = Scheduler(slots, options.queue, budget)

    def _open_draft(self, path: Path, slots: Slots, piece: int) -> None:
        """Open the draft plan, whose caches share the limit of cache memory in proportion to their sizes."""
        self.draft = draft = Plan(path)
        check_draft(self.plan, draft)
        if draft.manifest.packed is None:
            raise EngineError(
                f"draft {draft.path}: no graph for many sequences; build the plan again with --target ort-cpu"
            )
        check_state(draft.manifest)
        backend = open_backend(draft, self.options.threads, self.options.prepack, PACKED)
        assert isinstance(backend, OrtBackend)
        states = Slots(draft.manifest, backend, slots.count)
        if (limit := self.options.cache_bytes) is not None:
            slots.states.share(limit, states.states)
        drafter = Drafter(draft.manifest, DraftSlots(states, piece), self.manifest.tokens.eos)
        self.speculation = draft_speculation(self.manifest, lambda: drafter, self.options.draft_tokens)

    @property
    def statistics(self) -> Statistics:
        """Return the counts of the scheduler; zeros for an encoder."""
        return self.scheduler.statistics if self.scheduler is not None else Statistics()

    def settings(self, options: SamplingOptions, defaults: bool = True, chat: bool = False) -> Settings:
        """Return the settings of a request; with `chat`, the plan's texts that end an answer are stop strings.

        Raises PromptError for options that a service does not support.
        """
        if chat and defaults and options.stop is None and self.manifest.chat_stop:
            options = replace(options, stop=self.manifest.chat_stop_strings)
        if options.speculate is None and self.speculation is not None:
            options = replace(options, speculate=self.options.speculate)
        settings = choose_settings(self.manifest, options, defaults)
        if settings.num_beams > 1:
            settings = replace(settings, num_beams=1) if options.num_beams is None else settings
        if settings.num_beams > 1:
            raise PromptError("num_beams: beam search is not supported by a service; use archc run, or 1 beam")
        check_speculation(settings, self.manifest)
        return settings

    def job(
        self,
        ids: Sequence[int],
        settings: Settings,
        listener: Listener,
        *,
        row: int = 0,
        logprobs: int | None = None,
        scores_prompt: bool = False,
        generates: bool = True,
        constraint: Constraint | None = None,
        timeout: float | None = None,
        keeps_prefix: bool = True,
        has_text: bool = True,
        marks: Sequence[str] = (),
    ) -> Job:
        """Return a job for `submit` that continues a prompt, or for an encoder-decoder answers a source.

        `row` selects the random stream of `seed`. The text has the special tokens of `marks`, for an `OutputParser`. A
        grammar of the settings is compiled here, in the calling thread, if there is no `constraint`. See `Job` for the
        rest. Raises PromptError for ids that do not fit, for a grammar that is invalid or too large, and for
        log-probabilities of a prompt whose tokens depend on later ones.
        """
        manifest = self.manifest
        if self.scheduler is None:
            raise PromptError(f"{manifest.family}: generation is not supported for an encoder")
        if scores_prompt and (manifest.encoder is not None or manifest.prefix is not None):
            raise PromptError(f"echo: {manifest.family} has no log-probabilities of prompts; leave out logprobs")
        prompt, source, source_ids, forced = self._prompt(ids, settings)
        limit = manifest.limits.max_seq_len
        if len(prompt) >= limit:
            raise PromptError(f"prompt: expected fewer than {limit} tokens, the plan's maximum, got {len(prompt)}")
        tokenizer = self.tokenizer if has_text else None
        text = tokenizer.stream([] if source is not None else prompt, marks=marks) if tokenizer is not None else None
        if text is None and settings.stop:
            raise PromptError("stop: stop strings require a tokenizer, which this plan does not have")
        constraint = constraint or self._grammars.constraint(settings.grammar)
        opened = open_row(settings, prompt, limit, manifest.tokens.eos, source_ids, forced, text, row, constraint)
        return Job(
            prompt=source_ids or prompt,
            row=opened.row,
            sampler=opened.sampler,
            listener=listener,
            longest=len(prompt) + opened.budget,
            logprobs=logprobs,
            scores_prompt=scores_prompt,
            generates=generates,
            source=source,
            speculator=self.speculation.open(settings.speculate) if self.speculation is not None else None,
            deadline=None if timeout is None else time.monotonic() + timeout,
            keeps_prefix=keeps_prefix and manifest.has_stable_prefixes,
        )

    def _prompt(
        self, ids: Sequence[int], settings: Settings
    ) -> tuple[list[int], Callable[[], EncodedSource] | None, list[int], int]:
        """Return the decoder's prompt, what encodes the source, the source's ids, and the number of forced tokens."""
        if self._encoder is None:
            (prompt,), _ = check_ids([list(ids)], self.manifest.limits)
            return prompt.tolist(), None, [], 0
        encoder = self._encoder
        (source,), _ = check_ids([list(ids)], encoder.limits)
        start = forced_start(self.manifest, settings)
        (prompt,), _ = check_decoder_ids([list(start)] if start else None, 1, self.manifest)
        known, encoded = self._cached or ((), None)
        if encoded is not None and known == tuple(source.tolist()):
            return prompt.tolist(), lambda: encoded, source.tolist(), int(len(start) > 1)
        return prompt.tolist(), lambda: encoder.run(source[None]), source.tolist(), int(len(start) > 1)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put all jobs in the queue, or none; raise QueueFullError if it is full."""
        self.plan.check_content()
        if self.draft is not None:
            self.draft.check_content()
        assert self.scheduler is not None
        self.scheduler.submit_all(jobs)

    def encode_prompt(
        self, prompt: str | Sequence[Mapping[str, Any]], parse_special: bool = False, **variables: Any
    ) -> list[int]:
        """Return the ids of a text, or of chat messages with further variables of the template, such as `tools`.

        Raises PromptError for a plan without text or a template.
        """
        if self.tokenizer is None:
            raise PromptError("the plan has no tokenizer; give token ids, or build it with --tokenizer")
        if isinstance(prompt, str):
            return list(self.tokenizer.encode(prompt, parse_special=parse_special))
        return list(self.tokenizer.chat_ids(prompt, **variables))

    @property
    def plan_hash(self) -> str:
        """Return the SHA-256 of the manifest, which has those of all entries."""
        return hashlib.sha256(self.plan.read(MANIFEST)).hexdigest()

    def cache(self, ids: Sequence[int]) -> CachedPrompt:
        """Compute all tokens of a prompt but the last, or of an encoder-decoder the whole source; return the state.

        The next token is computed with the last one of the prompt, so that the same prompt may follow. Call it before
        other requests. Raises PromptError for a plan or a prompt without a state to keep.
        """
        self._check_cache()
        if self._encoder is not None:
            (source,), _ = check_ids([list(ids)], self._encoder.limits)
            encoded = self._encoder.run(source[None])
            self._cached = (tuple(source.tolist()), encoded)
            return CachedPrompt(self._cached[0], {name: buffer.read() for name, buffer in encoded.cross.items()})  # type: ignore[attr-defined]
        if len(ids) < 2:
            raise PromptError(f"prompt: expected at least 2 tokens for a cache, got {len(ids)}; use a longer prompt")
        ended = SimpleQueue[Event]()
        self.submit([self.job(ids[:-1], Settings(max_new_tokens=1), ended.put, has_text=False)])
        while isinstance(event := ended.get(), Token):
            pass
        if isinstance(event, Failed):
            raise event.error
        scheduler = self.scheduler
        assert scheduler is not None
        tokens = tuple(ids[:-1])
        slot = next(slot for slot, kept in scheduler.prefixes.kept.items() if tuple(kept.tokens) == tokens)
        return CachedPrompt(tokens, scheduler.call(lambda: scheduler.slots.save(slot)).result().arrays)

    def cache_layout(self, length: int) -> Layout:
        """Return the arrays of a cached prompt of `length` tokens. Raises PromptError for a plan without them."""
        self._check_cache()
        if self._encoder is not None:
            return self._encoder.layout(length)
        assert self.scheduler is not None
        return self.scheduler.slots.states.layout(length)

    def restore(self, cached: CachedPrompt) -> None:
        """Keep a cached prompt for the next request. Raises CacheFullError past the limit of cache memory."""
        self._check_cache()
        if self._encoder is not None:
            self._cached = (cached.tokens, self._encoder.restore(len(cached.tokens), cached.arrays))
            return
        scheduler = self.scheduler
        assert scheduler is not None
        snapshot = Snapshot(len(cached.tokens), cached.arrays)
        scheduler.call(lambda: scheduler.prefixes.put(0, cached.tokens, snapshot)).result()

    def has_cached_source(self, ids: Sequence[int]) -> bool:
        """Return whether the source of an encoder-decoder is the cached one."""
        return self._cached is not None and self._cached[0] == tuple(ids)

    def _check_cache(self) -> None:
        if self.scheduler is None:
            raise PromptError(f"{self.manifest.family}: an encoder has no state of a prompt to keep")
        if self._encoder is None and not self.manifest.has_stable_prefixes:
            raise PromptError(
                f"{self.manifest.family}: the state of a prompt's beginning depends on what follows, so that it cannot "
                "be kept; run without a cache"
            )

    def close(self, drain: bool = False, timeout: float | None = None) -> bool:
        """Stop, with `drain` after all requests; return whether nothing computes any more."""
        ended = self.scheduler.close(drain, timeout) if self.scheduler is not None else True
        self._close_plans()
        return ended

    def _close_plans(self) -> None:
        self.plan.close()
        if self.draft is not None:
            self.draft.close()


def describe(manifest: Manifest) -> dict[str, Any]:
    """Return facts of a plan for a list of models."""
    return {
        "family": manifest.family,
        "topology": manifest.topology,
        "target": manifest.target,
        "dtype": manifest.dtype,
        "quantization": manifest.quantization,
        "parameters": manifest.parameters,
        "max_seq_len": manifest.limits.max_seq_len,
    }
