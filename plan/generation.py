"""The `generation` section of manifest.json: the checkpoint's own settings of generation, a plan's defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from archc.plan.engine_section import Section

Id = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Ids = tuple[Id, ...]
Word = Annotated[tuple[Id, ...], Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Length = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Penalty = Annotated[float, Meta(gt=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]
PositiveShare = Annotated[float, Meta(gt=0, le=1)]


class GenerationDefaults(Section, frozen=True, kw_only=True, omit_defaults=True):
    """Settings of generation_config.json under its own names; None for a setting that it does not have.

    `max_length` and `min_length` count the prompt, `max_new_tokens` and `min_new_tokens` do not.
    """

    do_sample: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    top_k: Count | None = None
    top_p: PositiveShare | None = None
    min_p: Share | None = None
    typical_p: PositiveShare | None = None
    epsilon_cutoff: Share | None = None
    eta_cutoff: Share | None = None
    repetition_penalty: Penalty | None = None
    encoder_repetition_penalty: Penalty | None = None
    no_repeat_ngram_size: Count | None = None
    encoder_no_repeat_ngram_size: Count | None = None
    max_new_tokens: Length | None = None
    max_length: Length | None = None
    min_new_tokens: Count | None = None
    min_length: Count | None = None
    bad_words_ids: tuple[Word, ...] | None = None
    sequence_bias: tuple[tuple[Word, float], ...] | None = None
    suppress_tokens: Ids | None = None
    begin_suppress_tokens: Ids | None = None
    forced_bos_token_id: Id | None = None
    forced_eos_token_id: Ids | None = None
    exponential_decay_length_penalty: tuple[Count, Penalty] | None = None
    renormalize_logits: bool | None = None
    num_beams: Annotated[int, Meta(ge=1, le=1024)] | None = None
    length_penalty: Annotated[float, Meta(ge=-1e6, le=1e6)] | None = None
    early_stopping: bool | Literal["never"] | None = None
    stop_strings: tuple[Annotated[str, Meta(min_length=1)], ...] | None = None

    @property
    def settings(self) -> dict[str, object]:
        """Return the settings that are set, by name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}

    @property
    def token_ids(self) -> set[int]:
        """Return every token id of the settings."""
        words = [*(self.bad_words_ids or ()), *(word for word, _ in self.sequence_bias or ())]
        lists = [*words, self.suppress_tokens, self.begin_suppress_tokens, self.forced_eos_token_id]
        ids = {token for tokens in lists for token in tokens or ()}
        return ids if self.forced_bos_token_id is None else ids | {self.forced_bos_token_id}
