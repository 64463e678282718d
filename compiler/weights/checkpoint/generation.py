"""Special tokens and generation settings of a checkpoint: generation_config.json, or config.json without that file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from archc.archspec import read_config
from archc.archspec.config.text_part import text_part
from archc.compiler.errors import BuildError
from archc.plan import GenerationDefaults

_FILE = "generation_config.json"

# Values without an effect, which are not written into a plan.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    "top_k": (0, -1),
    "top_p": (1,),
    "min_p": (0,),
    "typical_p": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "repetition_penalty": (1,),
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_new_tokens": (0,),
    "min_length": (0,),
    "num_beams": (1,),
    "length_penalty": (1,),
    "early_stopping": (False,),
    "renormalize_logits": (False,),
}
# Settings without an effect on the tokens, or that other parts of a plan hold.
_WITHOUT_EFFECT = frozenset(
    (
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version"),
        *("_from_model_config", "_commit_hash", "_name_or_path", "use_cache", "cache_implementation", "cache_config"),
        *("max_cache_len", "return_dict_in_generate", "output_attentions", "output_hidden_states", "output_scores"),
        *("output_logits", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
        *("assistant_lookbehind", "target_lookbehind", "is_assistant", "compile_config", "disable_compile"),
        *("prefill_chunk_size", "low_memory", "chat_format", "max_window_size", "user_token_id", "assistant_token_id"),
        *("remove_invalid_values", "max_matching_ngram_size", "trust_remote_code", "continuous_batching_config"),
        *("task_specific_params", "_comment"),
    )
)
_OFF: Mapping[str, tuple[Any, ...]] = {
    "num_beam_groups": (1,),
    "diversity_penalty": (0,),
    "num_return_sequences": (1,),
    "guidance_scale": (1,),
}
_LISTS = ("suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id")


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids: beginning, end and padding of a sequence; `start`, the decoder prompt of an encoder-decoder; `never`,
    tokens that are not generated; the settings of generation; and texts that end an answer in a chat.
    """

    bos: int | None = None
    eos: tuple[int, ...] = ()
    pad: int | None = None
    start: tuple[int, ...] = ()
    never: tuple[int, ...] = ()
    generation: GenerationDefaults | None = None
    chat_stop: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def with_stop(self, stop: Sequence[int], vocab: int, chat_stop: tuple[str, ...] = ()) -> SpecialTokens:
        """Return the tokens with further ones that end a sequence, without those outside of the token table."""
        eos = tuple(dict.fromkeys([*self.eos, *(token for token in stop if token < vocab)]))
        return replace(self, eos=eos, chat_stop=chat_stop)


def special_tokens(
    folder: Path | None, config: Mapping[str, Any] | None, vocab: int, answers: bool = False
) -> SpecialTokens:
    """Return token ids and generation settings of a checkpoint. Raises BuildError for an invalid value.

    The ids of generation_config.json come before those of config.json. All other settings are those of the first of the
    two files that exists, as in transformers. For an encoder-decoder (`answers`), the decoder prompt is
    decoder_start_token_id, or bos_token_id without one, followed by forced_bos_token_id; single tokens of bad_words_ids
    are never generated.
    """
    sources: list[tuple[str, Mapping[str, Any]]] = []
    if folder is not None and (folder / _FILE).is_file():
        sources.append((_FILE, read_config(folder / _FILE)))
    if config is not None:
        sources.append(("config.json", text_part(config)))
    bos = _ids(sources, "bos_token_id", vocab)
    start = _ids(sources, "decoder_start_token_id", vocab) or bos
    generation, warnings = read_settings(sources[:1], vocab)
    forced, words = generation.forced_bos_token_id, generation.bad_words_ids
    return SpecialTokens(
        bos=next(iter(bos), None),
        eos=_ids(sources, "eos_token_id", vocab),
        pad=next(iter(_ids(sources, "pad_token_id", vocab)), None),
        start=(*start[:1], *(() if forced is None else (forced,))) if answers and start else (),
        never=tuple(word[0] for word in words or () if len(word) == 1) if answers else (),
        generation=generation,
        warnings=tuple(warnings),
    )


def read_settings(sources: Iterable[tuple[str, Mapping[str, Any]]], vocab: int) -> tuple[GenerationDefaults, list[str]]:
    """Return the settings of the first file, and warnings about those that are not supported.

    Raises BuildError for an invalid value in generation_config.json; one in config.json is left out with a warning,
    because other software may have another setting of that name.
    """
    settings, warnings = dict[str, Any](), list[str]()
    for file, values in sources:
        is_config = file != _FILE
        if is_config and values.get("force_bos_token_to_be_generated") is True:
            values = {"forced_bos_token_id": values.get("bos_token_id"), **values}
        for name in GenerationDefaults.__struct_fields__:
            value = values.get(name)
            if value is None or _is_one_of(value, _NEUTRAL.get(name, ())):
                continue
            try:
                settings[name] = _setting(file, name, value, vocab)
            except BuildError as error:
                if not is_config or name in (*_LISTS, "bad_words_ids", "forced_bos_token_id"):
                    raise
                warnings.append(f"{error}; it is ignored")
        if not is_config:
            warnings += [_unsupported(name, value) for name, value in values.items() if _has_effect(name, value)]
    return GenerationDefaults(**{name: value for name, value in settings.items() if value not in (None, ())}), warnings


def _setting(file: str, name: str, value: Any, vocab: int) -> Any:
    """Return a valid setting; raise BuildError otherwise. Ids outside of the vocabulary are left out."""
    source = [(file, {name: value})]
    if name in _LISTS:
        return _ids(source, name, vocab)
    if name == "forced_bos_token_id":
        return next(iter(_ids(source, name, vocab)), None)
    if name == "bad_words_ids":
        return _words(file, value, vocab)
    if name == "sequence_bias" and isinstance(value, list):
        value = [item for item in value if _fits(item, vocab)]
    try:
        # One field alone, so that a message is about this setting.
        return getattr(msgspec.convert({name: value}, GenerationDefaults), name)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        is_text = isinstance(error, UnicodeEncodeError)
        problem = "a lone surrogate is not text" if is_text else str(error).partition(" - at `")[0]
        raise BuildError(f"{file}: {name}: {problem}, got {value!r:.60}; correct it") from None


def _words(file: str, words: Any, vocab: int) -> tuple[tuple[int, ...], ...]:
    """Return bad_words_ids without words that have an id outside of the vocabulary."""
    if not isinstance(words, list) or not all(isinstance(word, list) for word in words):
        raise BuildError(f"{file}: bad_words_ids: expected a list of lists of token ids, got {words!r:.60}; correct it")
    checked = [(word, _ids([(file, {"bad_words_ids": word})], "bad_words_ids", vocab)) for word in words]
    return tuple(ids for word, ids in checked if ids and len(ids) == len(word))


def _fits(item: Any, vocab: int) -> bool:
    """Return whether an item of sequence_bias has no id outside of the vocabulary; an invalid item fails later."""
    word = item[0] if isinstance(item, list) and item else None
    return not isinstance(word, list) or all(not isinstance(token, int) or 0 <= token < vocab for token in word)


def _has_effect(name: str, value: Any) -> bool:
    """Return whether a setting that is not supported may change the tokens."""
    if name in GenerationDefaults.__struct_fields__ or name in _WITHOUT_EFFECT:
        return False
    is_off = value is None or value is False or value in ("", [], {})
    return not is_off and not _is_one_of(value, _OFF.get(name, ()))


def _unsupported(name: str, value: Any) -> str:
    return f"{_FILE}: {name} is not supported and is ignored, got {value!r:.60}; generated tokens may differ"


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values)


def _ids(sources: Iterable[tuple[str, Mapping[str, Any]]], key: str, vocab: int) -> tuple[int, ...]:
    for file, values in sources:
        value = values.get(key)
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        for item in ids:
            if not isinstance(item, int) or isinstance(item, bool):
                raise BuildError(f"{file}: {key}: expected a token id, got {item!r:.60}; correct it")
        # Some files write −1 for "none"; a tokenizer may have more ids than the model's token table.
        return tuple(item for item in ids if 0 <= item < vocab)
    return ()
