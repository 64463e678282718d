"""`archc run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archc.cli.commands.generation_options import (
    BadWordsIds,
    BeginSuppressTokens,
    EarlyStopping,
    EncoderNoRepeatNgramSize,
    EncoderRepetitionPenalty,
    EpsilonCutoff,
    EtaCutoff,
    ExponentialDecayLengthPenalty,
    ForcedBosTokenId,
    ForcedEosTokenId,
    FrequencyPenalty,
    GrammarFile,
    IgnoreEos,
    JsonSchema,
    LengthPenalty,
    LogitBias,
    MaxLength,
    MaxNewTokens,
    MinLength,
    MinNewTokens,
    MinP,
    NoDefaults,
    NoRepeatNgramSize,
    NumBeams,
    PresencePenalty,
    Regex,
    RenormalizeLogits,
    RepetitionPenalty,
    Seed,
    SequenceBias,
    Speculation,
    Stop,
    StopToken,
    SuppressTokens,
    Temperature,
    TopK,
    TopP,
    TypicalP,
    check_sampling,
    option_name,
    parse_bias,
    parse_decay,
    parse_early_stopping,
    parse_logit_bias,
    parse_speculate,
    read_grammar,
    read_schema,
    set_chat_stop,
    set_length,
)
from archc.cli.commands.options import Json, Plan, Threads, check_text, parse_ids
from archc.cli.console import UsageError, note, write_json, write_text
from archc.runtime.errors import EngineError

if TYPE_CHECKING:
    from archc.runtime import Engine
    from archc.runtime.generation.result import Timing
    from archc.runtime.generation.row import FinishReason

_STDIN_LIMIT = 64 << 20


def run_command(
    plan: Plan,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT", help="Prompt; - reads stdin (without one trailing newline)."),
    ] = None,
    ids: Annotated[str | None, typer.Option("--ids", metavar="1,2,3", help="Prompt as token ids.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Apply the chat template to the prompt.")] = False,
    special: Annotated[
        bool, typer.Option("--special", help="Parse special tokens that the prompt spells, such as <s>.")
    ] = False,
    show_special: Annotated[
        bool, typer.Option("--show-special", help="Show special tokens of the output in its text.")
    ] = False,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = None,
    stop: Stop = None,
    stop_token: StopToken = None,
    ignore_eos: IgnoreEos = False,
    typical_p: TypicalP = None,
    epsilon_cutoff: EpsilonCutoff = None,
    eta_cutoff: EtaCutoff = None,
    encoder_repetition_penalty: EncoderRepetitionPenalty = None,
    no_repeat_ngram_size: NoRepeatNgramSize = None,
    encoder_no_repeat_ngram_size: EncoderNoRepeatNgramSize = None,
    min_new_tokens: MinNewTokens = None,
    max_length: MaxLength = None,
    min_length: MinLength = None,
    bad_words_ids: BadWordsIds = None,
    sequence_bias: SequenceBias = None,
    logit_bias: LogitBias = None,
    presence_penalty: PresencePenalty = None,
    frequency_penalty: FrequencyPenalty = None,
    suppress_tokens: SuppressTokens = None,
    begin_suppress_tokens: BeginSuppressTokens = None,
    forced_bos_token_id: ForcedBosTokenId = None,
    forced_eos_token_id: ForcedEosTokenId = None,
    exponential_decay_length_penalty: ExponentialDecayLengthPenalty = None,
    json_schema: JsonSchema = None,
    regex: Regex = None,
    grammar: GrammarFile = None,
    num_beams: NumBeams = None,
    length_penalty: LengthPenalty = None,
    early_stopping: EarlyStopping = None,
    renormalize_logits: RenormalizeLogits = None,
    speculate: Speculation = None,
    no_defaults: NoDefaults = False,
    decoder_ids: Annotated[
        str | None,
        typer.Option("--decoder-ids", metavar="1,2,3", help="Decoder prompt for encoder-decoder models."),
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Generate text from a prompt.

    The checkpoint's generation settings are the defaults of all options; `archc inspect` shows them. Streams the text
    to stdout. A plan without a tokenizer requires --ids and prints ids. An encoder's plan prints a
    summary of its outputs. --json prints prompt_ids, output_ids, text (null without a tokenizer), finish and timing;
    for an encoder also hidden_states, logits and pooled, as far as the plan has them.
    """
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "stop": [check_text(text, "--stop") for text in stop or ()],
        "stop_token_ids": stop_token,
        "ignore_eos": ignore_eos or None,
        "typical_p": typical_p,
        "epsilon_cutoff": epsilon_cutoff,
        "eta_cutoff": eta_cutoff,
        "encoder_repetition_penalty": encoder_repetition_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
        "encoder_no_repeat_ngram_size": encoder_no_repeat_ngram_size,
        "min_new_tokens": min_new_tokens,
        "max_length": max_length,
        "min_length": min_length,
        "bad_words_ids": [parse_ids(text, "--bad-words-ids") for text in bad_words_ids or ()],
        "sequence_bias": [parse_bias(text) for text in sequence_bias or ()],
        "logit_bias": parse_logit_bias(logit_bias),
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "suppress_tokens": suppress_tokens,
        "begin_suppress_tokens": begin_suppress_tokens,
        "forced_bos_token_id": forced_bos_token_id,
        "forced_eos_token_id": forced_eos_token_id,
        "exponential_decay_length_penalty": parse_decay(exponential_decay_length_penalty),
        "json_schema": read_schema(json_schema),
        "regex": regex,
        "grammar": read_grammar(grammar),
        "num_beams": num_beams,
        "length_penalty": length_penalty,
        "early_stopping": parse_early_stopping(early_stopping),
        "renormalize_logits": renormalize_logits,
        "speculate": parse_speculate(speculate),
        "show_special": show_special or None,
        "decoder_ids": parse_ids(decoder_ids, "--decoder-ids") if decoder_ids is not None else None,
        "defaults": False if no_defaults else None,
    }
    options = {name: value for name, value in options.items() if value is not None and value not in ([], {})}
    _check_prompt(prompt, ids, chat, special)
    parsed_ids = parse_ids(ids) if ids is not None else None
    text = None if prompt is None else _read_stdin() if prompt == "-" else check_text(prompt, "--prompt")

    from archc.runtime.engine import load

    # Packing float32 weights pays off only after some 3,000 prompt tokens; decoding is as fast without.
    engine = load(plan, threads, prepack="auto")
    prompt_ids = parsed_ids if parsed_ids is not None else _encode(engine, text or "", chat, special)
    if engine.manifest.topology == "encoder":
        _run_encoder(engine, prompt_ids, options, as_json)
        return
    if show_special and engine.tokenizer is None:
        raise UsageError("--show-special has no effect, because this plan has no tokenizer; remove it")
    check_sampling(engine.manifest, options)
    set_length(engine.manifest, options)
    if chat:
        set_chat_stop(engine.manifest, options)
    if as_json:
        write_json(_generate(engine, prompt_ids, options))
    elif engine.tokenizer is not None:
        _stream(engine, prompt_ids, options)
    else:
        _stream_ids(engine, prompt_ids, options)


def _check_prompt(prompt: str | None, ids: str | None, chat: bool, special: bool) -> None:
    """Raise UsageError for no prompt, two of them, or options that have no effect on it."""
    if prompt is not None and ids is not None:
        raise UsageError("--prompt and --ids contradict each other; remove one")
    if prompt is None and ids is None:
        raise UsageError("no prompt; pass --prompt TEXT (- for stdin) or --ids 1,2,3")
    if chat and ids is not None:
        raise UsageError("--chat has no effect on --ids; pass the message with --prompt")
    if special and ids is not None:
        raise UsageError("--special has no effect on --ids; pass text with --prompt")
    if special and chat:
        raise UsageError("--special contradicts --chat, in which special tokens of a message are text; remove one")


def _read_stdin() -> str:
    """Return the text of stdin without one trailing newline. Raises UsageError if it is too long or not UTF-8."""
    data = sys.stdin.buffer.read(_STDIN_LIMIT + 1)
    if len(data) > _STDIN_LIMIT:
        raise UsageError(f"stdin: larger than {_STDIN_LIMIT >> 20} MiB, the maximum size of a prompt; shorten it")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin: byte 0x{data[error.start]:02x} at {error.start} is not valid UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _encode(engine: Engine, text: str, chat: bool, special: bool) -> list[int]:
    tokenizer = engine.tokenizer
    if tokenizer is None:
        raise UsageError(
            "this plan has no tokenizer, so it cannot read text; pass --ids, or build it from a checkpoint folder with "
            "tokenizer.json"
        )
    if chat:
        return tokenizer.chat_ids([{"role": "user", "content": text}])
    if not special and (spelled := tokenizer.special_tokens_in(text)):
        note(f"the prompt spells the special token {spelled[0]!r}, which is plain text; --special parses it")
    return tokenizer.encode(text, parse_special=special)


def _stream(engine: Engine, prompt_ids: list[int], options: dict[str, Any]) -> None:
    pieces = engine.stream(prompt_ids, **options)
    last = ""
    try:
        for piece in pieces:
            write_text(piece)
            last = piece
    except (KeyboardInterrupt, EngineError):
        write_text("\n")  # the shell's prompt, or the error, starts on a line of its own
        raise
    if not last.endswith("\n"):
        write_text("\n")
    _note_speed(pieces.timing, pieces.finish_reason)


def _stream_ids(engine: Engine, prompt_ids: list[int], options: dict[str, Any]) -> None:
    count = 0

    def show(_row: int, token: int) -> None:
        nonlocal count
        write_text(f"{',' if count else ''}{token}")
        count += 1

    try:
        result = engine.run(prompt_ids, on_token=show, **options)
    except (KeyboardInterrupt, EngineError):
        if count:
            write_text("\n")
        raise
    write_text("\n")
    _note_speed(result.timing, result.finish_reasons[0])


def _note_speed(timing: Timing, finish_reason: FinishReason | None) -> None:
    """Write token counts and decoding speed to stderr if that is a terminal."""
    if not sys.stderr.isatty():
        return
    # The first token comes from the prefill.
    rate = f", {(timing['new_tokens'] - 1) / timing['decode_s']:.1f} tokens/s" if timing["new_tokens"] > 1 else ""
    reason = {"eos": "end-of-sequence token", "stop": "stop sequence", "length": "maximum length"}
    finish = reason[finish_reason or "length"]
    note(f"{timing['prompt_tokens']} + {timing['new_tokens']} tokens{rate}, finished by {finish}")


def _generate(engine: Engine, prompt_ids: list[int], options: dict[str, Any]) -> dict[str, Any]:
    if engine.tokenizer is not None:
        stream = engine.stream(prompt_ids, **options)
        text: str | None = "".join(stream)
        output_ids, finish, timing = stream.ids, stream.finish_reason, stream.timing
    else:
        result = engine.run(prompt_ids, **options)
        text, output_ids, finish, timing = None, result.ids[0], result.finish_reasons[0], result.timing
    return {"prompt_ids": prompt_ids, "output_ids": output_ids, "text": text, "finish": finish, "timing": timing}


def _run_encoder(engine: Engine, prompt_ids: list[int], options: dict[str, Any], as_json: bool) -> None:
    for name in options:
        raise UsageError(
            f"{option_name(name)} has no effect, because {engine.manifest.family} is an encoder; remove it"
        )
    functions = {"hidden_states": engine.encode, "logits": engine.logits, "pooled": engine.pooled}
    results = {output.role: functions[output.role](prompt_ids)[0] for output in engine.manifest.outputs}
    if as_json:
        values = {role: result.tolist() for role, result in results.items()}
        write_json({"prompt_ids": prompt_ids, "output_ids": [], "text": None, **values, "timing": engine.timing})
        return
    print(f"{len(prompt_ids)} tokens: {','.join(map(str, prompt_ids))}")
    for role, result in results.items():
        first = " ".join(f"{value:.4f}" for value in result.reshape(-1)[:4])
        print(
            f"{role} {list(result.shape)}: mean {result.mean():.4f}, std {result.std():.4f}, "
            f"from {result.min():.4f} to {result.max():.4f}, first {first}"
        )
