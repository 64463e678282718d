"""Settings of one generation: the options of a call, the plan's defaults, and the neutral values of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

from archc.plan import GenerationDefaults, Manifest
from archc.runtime.errors import PromptError
from archc.runtime.generation.options import SamplingOptions
from archc.runtime.structure.grammar import Grammar

NEW_TOKENS = 16


@dataclass(frozen=True)
class Settings:
    """Complete settings of a generation; see `SamplingOptions` for their meaning. The default is greedy decoding."""

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    encoder_repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    max_length: int | None = None
    min_length: int = 0
    bad_words_ids: Sequence[Sequence[int]] = ()
    sequence_bias: Sequence[tuple[Sequence[int], float]] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    exponential_decay_length_penalty: tuple[int, float] | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    grammar: Grammar | None = None
    renormalize_logits: bool = False
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    speculate: int | Literal["auto", "off"] = "auto"

    @classmethod
    def resolve(cls, options: SamplingOptions, defaults: GenerationDefaults | None, vocab_size: int) -> Self:
        """Return the options, with those that are None from the plan's defaults.

        An option of the length replaces the default of the other option of the same end, and `ignore_eos` the default
        of the forced end token. Without a temperature, the defaults' is used if they sample. Raises PromptError for a
        token id outside of the vocabulary.
        """
        explicit = {name: value for name, value in vars(options).items() if value is not None}
        values: dict[str, Any] = dict(defaults.settings) if defaults is not None else {}
        is_sampled = values.pop("do_sample", False)
        temperature = values.pop("temperature", 1.0)
        values["temperature"] = temperature if is_sampled else 0.0
        if "stop_strings" in values:
            values["stop"] = values.pop("stop_strings")
        for end in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
            if explicit.keys() & set(end):
                for name in end:
                    values.pop(name, None)
        if options.ignore_eos:
            values.pop("forced_eos_token_id", None)
        values |= explicit
        if values.get("max_new_tokens") is None and values.get("max_length") is None:
            values["max_new_tokens"] = NEW_TOKENS
        values["stop"] = (values["stop"],) if isinstance(values.get("stop"), str) else tuple(values.get("stop") or ())
        values["stop"] = tuple(filter(None, values["stop"]))
        for name in ("stop_token_ids", "suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id"):
            ids = values.get(name, ())
            values[name] = tuple(int(token) for token in (ids if hasattr(ids, "__iter__") else (ids,)))
        values["logit_bias"] = tuple((int(token), float(bias)) for token, bias in (options.logit_bias or {}).items())
        values["grammar"] = options.structure
        for name in ("json_schema", "regex"):
            values.pop(name, None)
        settings = cls(**values)
        if settings.grammar is not None and settings.ignore_eos:
            raise PromptError(f"{settings.grammar.kind}: contradicts ignore_eos, because it ends with an end token")
        settings._check_ids(vocab_size)
        return settings

    def budget(self, prompt: int, limit: int) -> int:
        """Return the maximum number of new tokens after a prompt of that length, in a plan of that maximum length.

        At least one token is generated, as with transformers, if the prompt has the maximum length already.
        """
        room = limit - prompt
        if self.max_new_tokens is not None:
            return min(int(self.max_new_tokens), room)
        return room if self.max_length is None else max(1, min(int(self.max_length) - prompt, room))

    def differences(self) -> dict[str, Any]:
        """Return the settings that differ from greedy decoding without rules, by name."""
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) != item.default}

    def _check_ids(self, vocab_size: int) -> None:
        """Raise PromptError for a token id of a rule that is outside of the vocabulary."""
        forced = () if self.forced_bos_token_id is None else (self.forced_bos_token_id,)
        ids: dict[str, list[int]] = {
            "bad_words_ids": [token for word in self.bad_words_ids for token in word],
            "sequence_bias": [token for word, _ in self.sequence_bias for token in word],
            "logit_bias": [token for token, _ in self.logit_bias],
            "stop_token_ids": list(self.stop_token_ids),
            "suppress_tokens": list(self.suppress_tokens),
            "begin_suppress_tokens": list(self.begin_suppress_tokens),
            "forced_bos_token_id": list(forced),
            "forced_eos_token_id": list(self.forced_eos_token_id),
        }
        for name, tokens in ids.items():
            for token in tokens:
                if not 0 <= token < vocab_size:
                    raise PromptError(f"{name}: expected ids from 0 to {vocab_size - 1}, got {token}")


def choose_settings(manifest: Manifest, options: SamplingOptions, defaults: bool) -> Settings:
    """Return the settings of a call with a plan, with its defaults if `defaults`.

    `tokens.never` of a plan without a section `generation`, which older versions wrote, are never generated.
    """
    section = manifest.generation
    settings = Settings.resolve(options, section if defaults else None, manifest.limits.vocab_size)
    if section is None and manifest.tokens.never:
        return replace(settings, suppress_tokens=(*settings.suppress_tokens, *manifest.tokens.never))
    return settings


def forced_start(manifest: Manifest, settings: Settings) -> tuple[int, ...]:
    """Return an encoder-decoder's start tokens: the plan's first, and the forced token after it.

    Those of a plan without a section `generation`, which older versions wrote, have the plan's forced token.
    """
    start, forced = manifest.tokens.start, settings.forced_bos_token_id
    if not start or (forced is None and manifest.generation is None):
        return start
    return start[:1] if forced is None else (start[0], forced)
