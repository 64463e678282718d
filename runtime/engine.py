"""The engine: a loaded plan with methods for logits, hidden states, token ids and text."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, overload

from archc.plan.folder import open_plan
from archc.plan.manifest import Manifest
from archc.plan.reader import ENCODER, Plan
from archc.plan.records import OutputRole
from archc.runtime.backends import open_backend
from archc.runtime.backends.base import Backend
from archc.runtime.backends.prepack import PREPACK_DEFAULT, Prepack
from archc.runtime.errors import EngineError, PromptError, fit_length
from archc.runtime.generation.batch import Batch
from archc.runtime.generation.decode import OnToken
from archc.runtime.generation.draft_speculation import DRAFT_TOKENS, speculation_by
from archc.runtime.generation.options import SamplingOptions, merge_options
from archc.runtime.generation.prompts import decoder_prompts, encode_prompt, reject_decoder_ids
from archc.runtime.generation.result import Generation, LoadTiming, TextStream, Timing
from archc.runtime.generation.sampling import Floats
from archc.runtime.generation.sequences import Sequences
from archc.runtime.generation.settings import choose_settings, forced_start
from archc.runtime.generation.speculation import check_speculation, open_speculation
from archc.runtime.inputs.prompts import IdsLike, as_rows, check_token_types
from archc.runtime.state.cache import check_state
from archc.runtime.state.encoder import EncoderRunner
from archc.runtime.state.scores import shorten
from archc.runtime.state.whole_texts import TextsLike, WholeTexts
from archc.runtime.structure.plan_grammars import PlanGrammars
from archc.runtime.text.detokenizer import Detokenizer
from archc.runtime.text.tokenizer import Tokenizer


def load(
    path: str | os.PathLike[str],
    threads: int | None = None,
    prepack: Prepack | str = PREPACK_DEFAULT,
    cuda_graph: bool | None = None,
    draft: str | os.PathLike[str] | None = None,
    draft_tokens: int = DRAFT_TOKENS,
) -> Engine:
    """Return an engine for the plan, or the ONNX folder of archc, at `path`.

    `threads` are the CPU threads of one call, by default one for each physical core in the process's CPU set.
    `prepack` is `always`, `never` or `auto`; see `Prepack`. `cuda_graph` enables CUDA graphs for steps of one token; by
    default they are on with TensorRT and off with ONNX Runtime. `draft` is a smaller plan with the same vocabulary: it
    proposes up to `draft_tokens` tokens, which this one verifies in one call.
    Raises PlanError for an invalid plan, BackendError if its backend is missing, EngineError for an invalid option.
    """
    begin = time.perf_counter()
    try:
        packing = Prepack(prepack)
    except ValueError:
        raise EngineError(f"prepack: expected {', '.join(map(repr, map(str, Prepack)))}, got {prepack!r}") from None
    plan = open_plan(path)
    try:
        check_state(plan.manifest)
        encoder = None
        if plan.manifest.encoder is not None:
            encoder = EncoderRunner(plan.manifest.encoder, open_backend(plan, threads, packing, ENCODER, cuda_graph))
        engine = Engine(plan, open_backend(plan, threads, packing, cuda_graph=cuda_graph), encoder)
    except BaseException:
        plan.close()
        raise
    if draft is not None:
        try:
            engine.use_draft(load(draft, threads, prepack), draft_tokens)
        except BaseException:
            engine.close()
            raise
    engine.timing["load_s"] = time.perf_counter() - begin
    return engine


class Engine:
    """A loaded plan. `timing` has the seconds of loading, the CPU threads and the device."""

    def __init__(self, plan: Plan, backend: Backend, encoder: EncoderRunner | None = None) -> None:
        self.plan = plan
        self.manifest: Manifest = plan.manifest
        self._backend, self._encoder = backend, encoder
        self._whole_texts = WholeTexts(plan.manifest, backend, self._require_tokenizer)
        self.speculation = open_speculation(plan.manifest)
        self.draft: Engine | None = None
        self._tokenizer: Tokenizer | None = None
        self._grammars = PlanGrammars(plan.manifest, self._require_tokenizer)
        self._is_tokenizer_read = self._is_closed = False
        self.timing: LoadTiming = {"load_s": 0.0, "threads": backend.threads, "device": backend.device}

    @property
    def vocab_size(self) -> int:
        """Return the number of token ids."""
        return self.manifest.limits.vocab_size

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Return the plan's tokenizer, or None if it has none; read on first use, because a large one takes seconds.

        Raises PlanError if its files are damaged, and EngineError after `close`.
        """
        if self._is_closed:
            raise EngineError("the engine is closed; load the plan again")
        if not self._is_tokenizer_read:
            self._tokenizer = Tokenizer.from_plan(self.plan)
            self._is_tokenizer_read = True
        return self._tokenizer

    def use_draft(self, draft: Engine, most: int = DRAFT_TOKENS) -> None:
        """Propose up to `most` tokens of a smaller plan, in place of prompt lookup; the engine closes it.

        Raises EngineError unless both are decoders with the same vocabulary.
        """
        self.draft = draft
        self.speculation = speculation_by(draft.plan, lambda: draft.sequences(1), self.plan, most)

    def close(self) -> None:
        """Close the plan's file, and that of a draft; text is not supported afterwards."""
        self._is_closed = True
        self.plan.close()
        if self.draft is not None:
            self.draft.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def sequences(self, batch: int, capacity: int | None = None, source: IdsLike | None = None) -> Sequences:
        """Return `batch` empty sequences, with initial cache slots for `capacity` tokens each; not for encoders.

        An encoder-decoder requires `source`, ids as those of `encode`.
        """
        self.plan.check_content()
        family = self.manifest.family
        if self._encoder is None and source is not None:
            raise PromptError(f"source: not supported by {family}, which is not an encoder-decoder; leave it out")
        if self._encoder is not None and source is None:
            raise PromptError(f"source: required by {family}, an encoder-decoder; pass source=ids")
        encoded = self._encoder.run(source) if self._encoder is not None and source is not None else None
        return Sequences(self.manifest, self._backend, batch, capacity, encoded)

    def logits(self, ids: IdsLike, token_type_ids: IdsLike | None = None, decoder_ids: IdsLike | None = None) -> Floats:
        """Return float32 [batch, seq, vocab] for int ids [batch, seq] or ragged rows; undefined at padding.

        Logits of a decoder are those of the next token, logits of an encoder those of the token itself. For an
        encoder-decoder, `ids` are the source and seq is that of `decoder_ids`, by default the plan's start tokens.
        Raises PromptError for ids that do not fit.
        """
        if self.manifest.topology == "encoder":
            reject_decoder_ids(decoder_ids, self.manifest)
            return self._encoder_output("logits", ids, token_type_ids)
        padded, _ = decoder_prompts(self.manifest, self._encoder, ids, decoder_ids)
        check_token_types(token_type_ids, padded, is_input=False)
        source = ids if self._encoder is not None else None
        return self.sequences(len(padded), padded.shape[1], source).append(padded, logits="all")

    def encode(self, ids: IdsLike, token_type_ids: IdsLike | None = None) -> Floats:
        """Return an encoder's hidden states, float32 [batch, seq, hidden], for int ids [batch, seq] or ragged rows."""
        if self._encoder is not None:
            return self._encoder.run(ids, token_type_ids).hidden_states
        return self._encoder_output("hidden_states", ids, token_type_ids)

    def pooled(self, ids: IdsLike, token_type_ids: IdsLike | None = None) -> Floats:
        """Return an encoder's pooled output, float32 [batch, hidden], for int ids [batch, seq] or ragged rows."""
        return self._encoder_output("pooled", ids, token_type_ids)

    def classify(self, inputs: TextsLike, token_type_ids: IdsLike | None = None) -> Floats:
        """Return the logits of classes, float32 [batch, labels], or [batch, seq, labels] of each token.

        `inputs` are texts, pairs of texts, or int ids [batch, seq] or ragged rows; `manifest.classes` has the names.
        Logits at padding are undefined.
        """
        self.plan.check_content()
        return self._whole_texts.output("classes", inputs, token_type_ids)

    def embed(self, inputs: TextsLike, width: int | None = None) -> Floats:
        """Return vectors of texts or ids, float32 [batch, hidden]; with `width`, the first numbers, of norm 1.

        A model must be trained for shorter vectors (Kusupati et al. 2022, Matryoshka representations).
        """
        self.plan.check_content()
        return shorten(self._whole_texts.output("pooled", inputs), width)

    @overload
    def generate(self, ids: str, max_new_tokens: int | None = None, **keywords: Any) -> str: ...

    @overload
    def generate(self, ids: IdsLike, max_new_tokens: int | None = None, **keywords: Any) -> list[list[int]]: ...

    def generate(
        self,
        ids: str | IdsLike,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        stop_token_ids: Sequence[int] | None = None,
        ignore_eos: bool = False,
        on_token: OnToken | None = None,
        decoder_ids: IdsLike | None = None,
        **keywords: Any,
    ) -> str | list[list[int]]:
        """Return the new token ids of each row, or the text that continues a text.

        See `SamplingOptions` for all options, `run` for the rest, and `stream` for those of a text.
        """
        keywords |= {
            "on_token": on_token,
            "decoder_ids": decoder_ids,
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "seed": seed,
            "stop": stop,
            "stop_token_ids": stop_token_ids,
            "ignore_eos": ignore_eos,
        }
        return "".join(self.stream(ids, **keywords)) if isinstance(ids, str) else self.run(ids, **keywords).ids

    def run(
        self,
        ids: IdsLike,
        options: SamplingOptions | None = None,
        *,
        on_token: OnToken | None = None,
        decoder_ids: IdsLike | None = None,
        defaults: bool = True,
        **keywords: Any,
    ) -> Generation:
        """Generate from int ids [batch, seq] or ragged rows; return token ids, finish reasons and timing.

        The keywords are the fields of `SamplingOptions`, an alternative to `options`. An option that is None has the
        plan's default, or with `defaults=False` its neutral value. For an encoder-decoder, `ids` are the source and the
        output continues `decoder_ids`, as in `logits`. `on_token(row, id)` is called for each token as it is chosen,
        before a stop string removes it; with several beams, at the end. Raises PromptError for ids that do not fit, and
        for a prompt of the plan's maximum length.
        """
        options = merge_options(options, keywords)
        return self._start(ids, options, on_token, decoder_ids, defaults, has_text=bool(options.stop_strings)).run()

    def stream(
        self,
        prompt: str | IdsLike | Sequence[Mapping[str, Any]],
        *,
        chat: bool = False,
        parse_special: bool = False,
        show_special: bool = False,
        options: SamplingOptions | None = None,
        on_token: OnToken | None = None,
        decoder_ids: IdsLike | None = None,
        defaults: bool = True,
        **keywords: Any,
    ) -> TextStream:
        """Return an iterator over the text that continues `prompt`: text, or ids.

        With `chat`, `prompt` is the user's message, or a list of messages, and the plan's texts that end an answer are
        stop strings unless `stop` is set. With `parse_special`, special tokens that a text spells are tokens instead of
        plain text. With `show_special`, the text has those of the output. See `run` for the rest.
        Raises PromptError for invalid arguments at once, not at the first piece.
        """
        options = merge_options(options, keywords)
        if chat and defaults and options.stop is None and self.manifest.chat_stop:
            options = replace(options, stop=self.manifest.chat_stop_strings)
        ids = encode_prompt(self._require_tokenizer(), prompt, chat, parse_special)
        begun = self._start(ids, options, on_token, decoder_ids, defaults, True, show_special)
        if len(begun.ids) != 1:
            raise PromptError(f"stream: expected one prompt, got {len(begun.ids)}; use generate for several")
        return TextStream(begun)

    def _start(
        self,
        ids: IdsLike,
        options: SamplingOptions,
        on_token: OnToken | None,
        decoder_ids: IdsLike | None,
        defaults: bool,
        has_text: bool,
        show_special: bool = False,
    ) -> Generation:
        """Validate everything, and return a generation that has not run yet."""
        if self.manifest.topology == "encoder":
            raise PromptError(
                f"{self.manifest.family}: generation is not supported for an encoder; use engine.encode or "
                "engine.logits"
            )
        settings = choose_settings(self.manifest, options, defaults)
        start = forced_start(self.manifest, settings) if decoder_ids is None else ()
        prompts, lengths = decoder_prompts(self.manifest, self._encoder, ids, decoder_ids, start)
        check_speculation(settings, self.manifest, len(prompts))
        limit = self.manifest.limits.max_seq_len
        if lengths.max() >= limit:
            raise PromptError(
                f"prompt {int(lengths.argmax())}: expected fewer than {limit} tokens, the plan's maximum, got "
                f"{lengths.max()}; {fit_length('shorten it', self.manifest.limits)}"
            )
        # A plan without a tokenizer has no text, so the default stop strings cannot match.
        has_text = has_text or bool(settings.stop and self.tokenizer is not None)
        tokenizer = self._require_tokenizer() if has_text else None

        def detokenizer(prompt: Sequence[int]) -> Detokenizer | None:
            # The answer of an encoder-decoder does not continue the text of its start tokens.
            before = prompt if self._encoder is None else ()
            return tokenizer.stream(before, show_special) if tokenizer is not None else None

        source = ids if self._encoder is not None else None
        sources = [row[row >= 0].tolist() for row in as_rows(source, "ids")] if source is not None else None
        forced = int(len(start) > 1)
        ends, constraint = self.manifest.tokens.eos, partial(self._grammars.constraint, settings.grammar)
        batch = Batch(settings, prompts, limit, ends, sources, forced, detokenizer, self.speculation, constraint)

        def open_steps() -> Iterator[list[str]]:
            return batch.steps(self.sequences(len(prompts), source=source), on_token)

        timing: Timing = {
            **self.timing,
            "prompt_tokens": sum(map(len, sources)) if sources is not None else int(lengths.sum()),
            "new_tokens": 0,
            "prefill_s": 0.0,
            "decode_s": 0.0,
        }
        return Generation(open_steps, batch.rows, timing)

    def _encoder_output(self, role: OutputRole, ids: IdsLike, token_type_ids: IdsLike | None) -> Floats:
        self.plan.check_content()
        return self._whole_texts.output(role, ids, token_type_ids)

    def _require_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise PromptError(
                "the plan has no tokenizer, so text is not supported; pass ids, or build from a folder with "
                "tokenizer.json"
            )
        return self.tokenizer
