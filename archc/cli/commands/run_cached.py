"""`archc run` with --save-cache or --load-cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.cli.commands.generation_options import check_sampling, set_length
from archc.cli.console import UsageError, note, write_json, write_text

if TYPE_CHECKING:
    from archc.runtime.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class CachedRun:
    """A run that begins with the state of a file, or writes one; `encode` returns the ids of the prompt."""

    plan: Path
    encode: Callable[[Tokenizer | None], list[int]]
    save: Path | None
    load: Path | None
    chat: bool
    threads: int | None
    as_json: bool
    drafts: Mapping[str, Any] = field(default_factory=dict)  # keywords of a draft plan

    def run(self, options: dict[str, Any]) -> None:
        """Generate text, and write it to stdout."""
        if options.get("num_beams", 1) > 1:
            raise UsageError("--num-beams is not supported with a cache; remove it")

        from archc.cli.chat.answers import answer
        from archc.runtime.backends.prepack import Prepack
        from archc.runtime.generation.options import SamplingOptions
        from archc.runtime.serving.cache_file import read_cache, write_cache
        from archc.runtime.serving.service import Service, ServiceOptions

        chosen = ServiceOptions(slots=1, threads=self.threads, prepack=Prepack.AUTO, **self.drafts)
        service = Service(self.plan, chosen)
        try:
            check_sampling(service.manifest, options)
            set_length(service.manifest, options)
            ids = self.encode(service.tokenizer)
            kept = 0
            if self.load is not None:
                cached = read_cache(self.load, service.plan_hash, service.cache_layout)
                service.restore(cached)
                kept = len(cached.tokens)
            if self.save is not None:
                saved = service.cache(ids)
                size = write_cache(self.save, service.plan_hash, saved)
                note(f"{len(saved.tokens)} tokens written to {self.save}: {size:,} bytes")
            defaults = options.pop("defaults", True)
            settings = service.settings(SamplingOptions.from_keywords(options), defaults, chat=self.chat)
            is_text = service.tokenizer is not None and not self.as_json
            found = answer(service, ids, settings, write_text if is_text else lambda _: None)
            used = kept if self.load is not None and service.has_cached_source(ids) else found.cached_tokens
            if self.save is None and used < kept:
                note(f"{self.load}: the prompt begins with {used} of the {kept} tokens of the cache")
        finally:
            service.close()
        if self.as_json:
            text = found.text if service.tokenizer is not None else None
            output = {"prompt_ids": ids, "output_ids": found.ids, "text": text, "finish": found.reason}
            write_json({**output, "cached_tokens": used})
        elif not is_text:
            write_text(",".join(map(str, found.ids)) + "\n")
        elif not found.text.endswith("\n"):
            write_text("\n")
        if found.is_interrupted:
            raise KeyboardInterrupt
