"""The public face of the runtime: load a plan, ask it for logits, hidden states, tokens or text."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import to_float32
from archc.plan.manifest import Manifest, OutputRole
from archc.plan.reader import ENCODER, Plan
from archc.runtime.backends import open_backend
from archc.runtime.backends.base import Backend
from archc.runtime.errors import PromptError
from archc.runtime.generation.generate import Finish, Floats, Row, Sequences, decode
from archc.runtime.generation.sampling import Sampler, Sampling, is_integer
from archc.runtime.inputs.feeds import Feeder
from archc.runtime.inputs.outputs import empty_output
from archc.runtime.inputs.prompts import IdsLike, Ints, as_rows, check_ids, check_token_types
from archc.runtime.state.encoder import SourceReader, check_answers
from archc.runtime.state.state import check_state
from archc.runtime.text.tokenizer import Tokenizer


class Options(TypedDict, total=False):
    """Options of `generate` and `stream`; see `Engine.generate`."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int | None
    stop: str | Sequence[str]
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    on_token: Callable[[int, int], object] | None
    decoder_ids: IdsLike | None


def load(
    path: str | os.PathLike[str],
    threads: int | None = None,
    prepack: bool | None = True,
    cuda_graph: bool | None = None,
) -> Engine:
    """Return an engine for the plan at `path`.

    `threads` is the CPU threads of one call, by default one for each physical core that this process may use.
    `prepack=False` computes on the weights as they lie in the file: loading is immediate, and processes share their
    memory, but calls with a few tokens take up to twice as long; not for plans of fewer bits. None does so where it
    can.
    `cuda_graph` says whether a GPU's steps of one token are recorded and replayed whole: with TensorRT they are unless
    it is False, with ONNX Runtime only if it is True.
    Raises PlanError for a bad plan, BackendError if what runs it is missing.
    """
    begin = time.perf_counter()
    plan = Plan(path)
    try:
        check_state(plan.manifest)
        encoder = None
        if plan.manifest.encoder is not None:
            encoder = SourceReader(plan.manifest.encoder, open_backend(plan, threads, prepack, ENCODER, cuda_graph))
        engine = Engine(plan, open_backend(plan, threads, prepack, cuda_graph=cuda_graph), encoder)
    except BaseException:
        plan.close()
        raise
    engine.timing["load_s"] = time.perf_counter() - begin
    return engine


class Engine:
    """A loaded plan.  `timing` and `finish_reasons` tell about the latest `generate` or `stream`."""

    def __init__(self, plan: Plan, backend: Backend, encoder: SourceReader | None = None) -> None:
        self.plan = plan
        self.manifest: Manifest = plan.manifest
        self._backend, self._encoder = backend, encoder
        self._feeder = Feeder(plan.manifest)
        self._takes_types = any(item.role == "token_types" for item in plan.manifest.inputs)
        self.timing: dict[str, Any] = {"load_s": 0.0, "threads": backend.threads, "device": backend.device}
        self.finish_reasons: list[Finish | None] = []

    @property
    def vocab_size(self) -> int:
        """How many token ids there are; ids run from 0 to this, exclusive."""
        return self.manifest.limits.vocab_size

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The plan's tokenizer, or None if it has none; read when it is first wanted, for a large one takes its time.

        Raises PlanError if its files are damaged.
        """
        return Tokenizer.from_plan(self.plan)

    def close(self) -> None:
        """Close the plan's file."""
        self.plan.close()

    def sequences(self, batch: int, capacity: int | None = None, source: IdsLike | None = None) -> Sequences:
        """Return `batch` empty sequences to append to, with room for `capacity` tokens each at first; not of encoders.

        An encoder-decoder's answer a `source` each, ids as those of `encode`.
        """
        if (source is None) != (self._encoder is None):
            wrong = "takes no source" if self._encoder is None else "answers a source: give source=ids"
            raise PromptError(f"{self.manifest.family} {wrong}")
        read = self._encoder.read(source) if self._encoder is not None and source is not None else None
        return Sequences(self.manifest, self._backend, batch, capacity, read)

    def logits(self, ids: IdsLike, token_type_ids: IdsLike | None = None, decoder_ids: IdsLike | None = None) -> Floats:
        """Return float32 [batch, seq, vocab] for int ids [batch, seq], or ragged rows; those at padding mean nothing.

        A decoder's predict the next token, an encoder's the token itself; an encoder-decoder's predict what follows
        `decoder_ids`, by default the tokens that its answers begin with, and `ids` are the source.
        Raises PromptError for ids that do not fit.
        """
        if self.manifest.topology == "encoder":
            self._refuse_answers(decoder_ids)
            return self._encoder_output("logits", ids, token_type_ids)
        padded, _ = self._prompts(ids, decoder_ids)
        check_token_types(token_type_ids, padded, takes_them=False)
        source = ids if self._encoder is not None else None
        result = self.sequences(len(padded), padded.shape[1], source).append(padded, logits="all")
        assert result is not None
        return result

    def encode(self, ids: IdsLike, token_type_ids: IdsLike | None = None) -> Floats:
        """Return an encoder's hidden states, float32 [batch, seq, hidden], for int ids [batch, seq], or ragged rows."""
        if self._encoder is not None:
            return self._encoder.read(ids, token_type_ids).hidden_states
        return self._encoder_output("hidden_states", ids, token_type_ids)

    def pooled(self, ids: IdsLike, token_type_ids: IdsLike | None = None) -> Floats:
        """Return an encoder's pooled output, float32 [batch, hidden], for int ids [batch, seq], or ragged rows."""
        return self._encoder_output("pooled", ids, token_type_ids)

    def generate(
        self, ids: IdsLike, max_new_tokens: int = 16, temperature: float = 0.0, top_k: int = 0, top_p: float = 1.0,
        min_p: float = 0.0, repetition_penalty: float = 1.0, seed: int | None = None, stop: str | Sequence[str] = (),
        stop_token_ids: Sequence[int] = (), ignore_eos: bool = False,
        on_token: Callable[[int, int], object] | None = None, decoder_ids: IdsLike | None = None,
    ) -> list[list[int]]:  # fmt: skip
        """Return each row's new token ids, greedy unless `temperature` is above 0 (`sampling.Sampling` has the ranges).

        A row ends at the plan's end tokens (unless `ignore_eos`), at `stop_token_ids`, before the text of `stop`, after
        `max_new_tokens`, or at the plan's limit; what ended it is in `finish_reasons`, and not in the ids.
        An encoder-decoder's `ids` are the source, and what it writes follows `decoder_ids`, as in `logits`.
        `on_token(row, id)` is called for each token as it is chosen, before `stop` takes any back.
        Raises PromptError for ids or options that do not fit, and for a prompt that leaves no room.
        """
        options = Options(
            max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
            repetition_penalty=repetition_penalty, seed=seed, stop=stop, stop_token_ids=stop_token_ids,
            ignore_eos=ignore_eos, on_token=on_token, decoder_ids=decoder_ids,
        )  # fmt: skip
        prompts, rows = self._prepare(ids, options, want_text=bool(stop))
        for _ in self._run(ids, prompts, rows, on_token):
            continue
        return [row.ids for row in rows]

    def stream(
        self, prompt: str | IdsLike | Sequence[Mapping[str, Any]], *, chat: bool = False, **options: Unpack[Options]
    ) -> Iterator[str]:
        """Return an iterator over the text that continues `prompt`: text, or ids; the options are those of `generate`.

        With `chat`, a text is the user's message, and a list of messages is the conversation so far.
        Raises PromptError at once, not at the first piece.
        """
        tokenizer = self._need_tokenizer()
        ids: IdsLike
        if chat:
            ids = tokenizer.chat_ids([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)  # type: ignore[arg-type]
        else:
            ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt  # type: ignore[assignment]
        prompts, rows = self._prepare(ids, options, want_text=True)
        if len(rows) != 1:
            raise PromptError(f"stream takes one prompt, not {len(rows)}; use generate for several")
        return (piece for piece in self._run(ids, prompts, rows, options.get("on_token")) if piece)

    def _prepare(self, ids: IdsLike, options: Options, want_text: bool) -> tuple[Ints, list[Row]]:
        """Check everything before anything runs, and return the prompts and a Row for each."""
        if self.manifest.topology == "encoder":
            raise PromptError(
                f"{self.manifest.family} is an encoder and cannot generate; use engine.encode or engine.logits"
            )
        if unknown := sorted(options.keys() - Options.__annotations__.keys()):
            raise PromptError(f"unknown option {unknown[0]!r}; there are {', '.join(Options.__annotations__)}")
        budget = options.get("max_new_tokens", 16)
        if not is_integer(budget) or budget < 1:
            raise PromptError(f"max_new_tokens is {budget!r}; it must be a whole number of at least 1")
        sampling = Sampling(**{name: options[name] for name in Sampling.__annotations__ if name in options})  # type: ignore[literal-required]
        stop = options.get("stop") or ()
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(isinstance(text, str) and text for text in stops):
            raise PromptError(f"stop is {stop!r}; it must be text, or a list of texts, none of them empty")
        prompts, lengths = self._prompts(ids, options.get("decoder_ids"))
        limit = self.manifest.limits.max_seq_len
        if lengths.max() >= limit:
            raise PromptError(
                f"prompt {int(lengths.argmax())} has {lengths.max()} tokens, and this plan holds {limit}: there is no "
                "room for more; shorten it, or build with a larger --max-seq-len"
            )
        eos = frozenset(() if options.get("ignore_eos") else self.manifest.tokens.eos)
        stop_ids = frozenset(map(int, options.get("stop_token_ids", ())))
        tokenizer = self._need_tokenizer() if want_text or stops else None
        rows = []
        for index, length in enumerate(lengths.tolist()):
            prompt, never = prompts[index, :length].tolist(), self.manifest.tokens.never
            sampler = Sampler(sampling, self.vocab_size, prompt, index, never)
            text = tokenizer.stream() if tokenizer is not None else None
            rows.append(Row(sampler, min(int(budget), limit - length), eos, stop_ids, text, stops))
        return prompts, rows

    def _prompts(self, ids: IdsLike, decoder_ids: IdsLike | None) -> tuple[Ints, Ints]:
        """What the decoder takes in first, int64 [batch, seq], and each row's length; checks the source as well."""
        if self._encoder is None:
            self._refuse_answers(decoder_ids)
            return check_ids(ids, self.manifest.limits)
        source, _ = check_ids(ids, self._encoder.limits)
        return check_answers(decoder_ids, len(source), self.manifest)

    def _refuse_answers(self, decoder_ids: IdsLike | None) -> None:
        if decoder_ids is not None:
            raise PromptError(f"{self.manifest.family} is no encoder-decoder and takes no decoder_ids; leave them out")

    def _run(
        self, ids: IdsLike, prompts: Ints, rows: list[Row], on_token: Callable[[int, int], object] | None
    ) -> Iterator[str]:
        begin = time.perf_counter()
        sequences = self.sequences(len(rows), source=ids if self._encoder is not None else None)
        tokens = prompts if self._encoder is None else as_rows(ids, "ids")
        self.timing.update(prompt_tokens=int((tokens >= 0).sum()), new_tokens=0, prefill_s=0.0, decode_s=0.0)
        prefilled: float | None = None
        try:
            for piece in decode(sequences, prompts, rows, on_token):
                if prefilled is None:
                    prefilled = time.perf_counter()
                yield piece
        finally:
            end = time.perf_counter()
            prefilled = prefilled or end
            self.finish_reasons = [row.finish for row in rows]
            self.timing.update(
                prefill_s=prefilled - begin, decode_s=end - prefilled, new_tokens=sum(len(row.ids) for row in rows)
            )

    def _encoder_output(self, role: OutputRole, ids: IdsLike, token_type_ids: IdsLike | None) -> Floats:
        if self.manifest.topology != "encoder":
            raise PromptError(
                f"{self.manifest.family} is no encoder alone and has no {role}; use engine.logits or engine.generate"
            )
        output = self.manifest.output(role)
        if output is None:
            has = ", ".join(item.role for item in self.manifest.outputs)
            raise PromptError(f"this plan has no output of role {role}; it has {has}")
        padded, lengths = check_ids(ids, self.manifest.limits)
        types = check_token_types(token_type_ids, padded, self._takes_types)
        batch, seq = padded.shape
        count = seq if role == "logits" else 0
        positions = np.broadcast_to(np.arange(count), (batch, count))
        feeds = self._feeder.feeds(padded, np.zeros(batch, np.int64), lengths, positions, types)
        sizes = {dim: size for dim, size in zip(output.shape, (batch, seq), strict=False) if isinstance(dim, str)}
        values: NDArray[Any] = empty_output(output, sizes)
        self._backend.bind([]).run(feeds, {output.name: values})
        return to_float32(values, output.dtype)

    def _need_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise PromptError(
                "this plan has no tokenizer, so it takes ids and no text: build it from a folder with tokenizer.json"
            )
        return self.tokenizer
