"""`archc run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archc.cli.commands.generation_options import (
    check_sampling,
    option_name,
    set_chat_stop,
    set_length,
    with_generation_options,
)
from archc.cli.commands.options import (
    Draft,
    DraftTokens,
    Json,
    PlanOrFolder,
    Threads,
    check_text,
    draft_options,
    parse_ids,
)
from archc.cli.commands.run_batch import SLOTS, run_batch
from archc.cli.commands.run_cached import CachedRun
from archc.cli.commands.run_encoder import run_encoder
from archc.cli.console import UsageError, note, write_json, write_text
from archc.runtime.errors import EngineError

if TYPE_CHECKING:
    from archc.runtime import Engine
    from archc.runtime.generation.result import Timing
    from archc.runtime.generation.row import FinishReason
    from archc.runtime.text.pairs import Encoded
    from archc.runtime.text.tokenizer import Tokenizer

_STDIN_LIMIT = 64 << 20
_NO_TOKENIZER = (
    "this plan has no tokenizer, so it cannot read text; pass --ids, or build it from a checkpoint folder with "
    "tokenizer.json"
)


@with_generation_options
def run_command(
    plan: PlanOrFolder,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROMPT]", help="Prompt; - reads stdin, as does no prompt at all where stdin is no terminal."
        ),
    ] = None,
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
    pair: Annotated[
        str | None,
        typer.Option(
            "--pair", metavar="TEXT", help="Second text for an encoder: a document, or the context of a span."
        ),
    ] = None,
    decoder_ids: Annotated[
        str | None,
        typer.Option("--decoder-ids", metavar="1,2,3", help="Decoder prompt for encoder-decoder models."),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option("--batch", metavar="FILE", help="Requests, one JSON object a line; results are JSON lines too."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Results of --batch; ids that it has are skipped."),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option("--slots", min=1, metavar="N", help=f"Requests at a time with --batch. Default: {SLOTS}"),
    ] = None,
    save_cache: Annotated[
        Path | None, typer.Option("--save-cache", metavar="FILE", help="Write the state of the prompt to a file.")
    ] = None,
    load_cache: Annotated[
        Path | None,
        typer.Option("--load-cache", metavar="FILE", help="Compute only what follows the tokens of --save-cache."),
    ] = None,
    draft: Draft = None,
    draft_tokens: DraftTokens = None,
    threads: Threads = None,
    as_json: Json = False,
    *,
    options: dict[str, Any],
) -> None:
    """Generate text from a prompt.

    The checkpoint's generation settings are the defaults of all options; `archc inspect` shows them. Streams the text
    to stdout. A plan without a tokenizer requires --ids and prints ids. An encoder's plan prints scores of labels, the
    likeliest span, or a summary of its outputs. --json prints prompt_ids, output_ids, text (null without a tokenizer),
    finish and timing; for an encoder also hidden_states, logits, pooled, classes and scores, as far as the plan has
    them.
    """
    others = {
        "a prompt": text is not None or prompt is not None,
        "--ids": ids is not None,
        "--chat": chat,
        "--special": special,
        "--show-special": show_special,
        "--decoder-ids": decoder_ids is not None,
        "--pair": pair is not None,
        "--json": as_json,
        "--save-cache": save_cache is not None,
        "--load-cache": load_cache is not None,
    }
    drafts = draft_options(draft, draft_tokens, options)
    if batch is not None:
        for name, is_given in others.items():
            if is_given:
                raise UsageError(f"{name} has no effect with --batch, whose lines are the requests; remove it")
        run_batch(plan, batch, out, slots, threads, options, drafts)
        return
    for name, value in (("-o", out), ("--slots", slots)):
        if value is not None:
            raise UsageError(f"{name} has no effect without --batch; remove it")
    if show_special:
        options["show_special"] = True
    if decoder_ids is not None:
        options["decoder_ids"] = parse_ids(decoder_ids, "--decoder-ids")
    message = _choose_prompt(text, prompt, ids, chat, special)
    parsed_ids = parse_ids(ids) if ids is not None else None

    if save_cache is not None or load_cache is not None:
        for name in ("show_special", "decoder_ids"):
            if name in options:
                raise UsageError(f"{option_name(name)} is not supported with a cache; remove it")

        def encode(tokenizer: Tokenizer | None) -> list[int]:
            return parsed_ids if parsed_ids is not None else _encode(tokenizer, message or "", chat, special)

        CachedRun(plan, encode, save_cache, load_cache, chat, threads, as_json, drafts).run(options)
        return

    from archc.runtime.engine import load

    # Packing float32 weights pays off only after some 3,000 prompt tokens; decoding is as fast without.
    engine = load(plan, threads, prepack="auto", **drafts)
    if engine.manifest.topology == "encoder" and parsed_ids is None and not (chat or special):
        run_encoder(engine, _encode_whole(engine.tokenizer, message or "", pair), pair or message, options, as_json)
        return
    if pair is not None:
        raise UsageError("--pair has an effect on the text of an encoder's plan only; remove it")
    prompt_ids = parsed_ids if parsed_ids is not None else _encode(engine.tokenizer, message or "", chat, special)
    if engine.manifest.topology == "encoder":
        from archc.runtime.text.pairs import Encoded

        run_encoder(
            engine, Encoded(prompt_ids, [0] * len(prompt_ids), [None] * len(prompt_ids)), None, options, as_json
        )
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


def _choose_prompt(text: str | None, prompt: str | None, ids: str | None, chat: bool, special: bool) -> str | None:
    """Return the prompt's text, from the arguments or from stdin; None for --ids.

    Raises UsageError for no prompt, two of them, or options that have no effect on it.
    """
    if text is not None and prompt is not None:
        raise UsageError("--prompt and a prompt after the plan contradict each other; remove one")
    if (text is not None or prompt is not None) and ids is not None:
        place = "--prompt" if prompt is not None else "the prompt after the plan"
        raise UsageError(f"{place} and --ids contradict each other; remove one")
    if chat and ids is not None:
        raise UsageError("--chat has no effect on --ids; pass the message with --prompt")
    if special and ids is not None:
        raise UsageError("--special has no effect on --ids; pass text with --prompt")
    if special and chat:
        raise UsageError("--special contradicts --chat, in which special tokens of a message are text; remove one")
    if ids is not None:
        return None
    if text is None and prompt is None:
        return _read_piped_prompt()
    if "-" in (text, prompt):
        return _read_stdin()
    return check_text(prompt, "--prompt") if prompt is not None else check_text(text or "", "prompt")


def _read_piped_prompt() -> str:
    """Return the prompt from stdin; raise UsageError for a terminal, a closed or an empty stdin."""
    # A process that was started without stdin has none.
    is_piped = sys.stdin is not None and not sys.stdin.isatty()
    if is_piped and (text := _read_stdin()):
        return text
    hint = "" if is_piped else "; archc chat PLAN holds a conversation"
    raise UsageError(f'no prompt; pass archc run PLAN "TEXT", a file or pipe as stdin, or --ids 1,2,3{hint}')


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


def _encode(tokenizer: Tokenizer | None, text: str, chat: bool, special: bool) -> list[int]:
    if tokenizer is None:
        raise UsageError(_NO_TOKENIZER)
    if chat:
        return tokenizer.chat_ids([{"role": "user", "content": text}])
    if not special and (spelled := tokenizer.special_tokens_in(text)):
        note(f"the prompt spells the special token {spelled[0]!r}, which is plain text; --special parses it")
    return tokenizer.encode(text, parse_special=special)


def _encode_whole(tokenizer: Tokenizer | None, text: str, pair: str | None) -> Encoded:
    """Return the ids of a text or a pair for an encoder; raise UsageError without a tokenizer."""
    from archc.runtime.text.pairs import encode_texts

    if tokenizer is None:
        raise UsageError(_NO_TOKENIZER)
    for item in (text, pair or ""):
        if spelled := tokenizer.special_tokens_in(item):
            note(f"the prompt spells the special token {spelled[0]!r}, which is plain text; --special parses it")
            break
    return encode_texts(tokenizer, [text if pair is None else (text, check_text(pair, "--pair"))])[0]


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
