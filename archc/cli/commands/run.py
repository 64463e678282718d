"""`archc run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archc.cli.commands.options import Json, Plan, Threads, check_text, parse_ids
from archc.cli.console import UsageError, note, write_json, write_text
from archc.runtime.errors import EngineError

if TYPE_CHECKING:
    from archc.runtime import Engine
    from archc.runtime.generation.result import Timing
    from archc.runtime.generation.row import FinishReason

NEW_TOKENS = 128
_STDIN_LIMIT = 64 << 20
_SAMPLING = ("top_k", "top_p", "min_p", "seed")


def run(
    plan: Plan,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT", help="Text to continue; - reads stdin (one last newline is dropped)."),
    ] = None,
    ids: Annotated[str | None, typer.Option("--ids", metavar="1,2,3", help="Token ids to continue.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="The prompt is a user's message in the chat template.")] = False,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-new-tokens", min=1, metavar="N", help=f"Most tokens to write; by default {NEW_TOKENS}.",
        ),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", metavar="T", help="0, the default, is greedy; above it, drawn.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", metavar="K", help="Draw from the K likeliest only.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", metavar="P", help="Draw from the likeliest that hold P together.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option("--min-p", metavar="P", help="Draw from those at least P times the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option("--repetition-penalty", metavar="R", help="Above 1, used tokens become less likely.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="S", help="Makes drawing repeatable.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="End before this text. Repeatable.")
    ] = None,
    stop_token: Annotated[
        list[int] | None, typer.Option("--stop-token", metavar="ID", help="End before this token. Repeatable.")
    ] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Write on past the end tokens.")] = False,
    decoder_ids: Annotated[
        str | None,
        typer.Option("--decoder-ids", metavar="1,2,3", help="What the answer of an encoder-decoder begins with."),
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Continue a prompt with a plan, or answer it with an encoder-decoder's.

    The text is printed as it is written. A plan without a tokenizer takes --ids and prints ids. An encoder's plan
    prints a summary of its outputs. With --json: prompt_ids, output_ids, text (null without a tokenizer), finish,
    timing; and for an encoder, which writes nothing, also hidden_states, logits and pooled, those that the plan
    has.
    """
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "seed": seed, "stop": stop, "stop_token_ids": stop_token,
        "ignore_eos": ignore_eos or None,
    }  # fmt: skip
    if decoder_ids is not None:
        options["decoder_ids"] = parse_ids(decoder_ids, "--decoder-ids")
    options = {name: value for name, value in options.items() if value not in (None, [])}
    _check_options(prompt, ids, chat, options)
    given = parse_ids(ids) if ids is not None else None
    text = None if prompt is None else _read_stdin() if prompt == "-" else check_text(prompt, "--prompt")
    if stop:
        options["stop"] = [check_text(value, "--stop") for value in stop]

    from archc.runtime.engine import load

    # Of float32, packing takes as long as it wins while some 3,000 tokens are read; writing is as fast without it.
    engine = load(plan, threads, prepack="auto")
    prompt_ids = given if given is not None else _encode(engine, text or "", chat)
    if engine.manifest.topology == "encoder":
        _run_encoder(engine, prompt_ids, options, as_json)
        return
    options.setdefault("max_new_tokens", NEW_TOKENS)
    if as_json:
        write_json(_generate(engine, prompt_ids, options))
    elif engine.tokenizer is not None:
        _stream(engine, prompt_ids, options)
    else:
        _stream_ids(engine, prompt_ids, options)


def _check_options(prompt: str | None, ids: str | None, chat: bool, options: dict[str, Any]) -> None:
    if prompt is not None and ids is not None:
        raise UsageError("--prompt and --ids are both given: give one")
    if prompt is None and ids is None:
        raise UsageError("no prompt: give --prompt TEXT (- for stdin) or --ids 1,2,3")
    if chat and ids is not None:
        raise UsageError("--chat has no effect on --ids: give the message with --prompt")
    if not options.get("temperature"):
        for name in _SAMPLING:
            if name in options:
                raise UsageError(f"--{name.replace('_', '-')} has no effect on greedy decoding: add --temperature 1")


def _read_stdin() -> str:
    """The text of stdin without its last newline, which `echo` adds. Raises UsageError for what is not text."""
    data = sys.stdin.buffer.read(_STDIN_LIMIT + 1)
    if len(data) > _STDIN_LIMIT:
        raise UsageError(f"stdin has more than {_STDIN_LIMIT >> 20} MiB, which no model takes as one prompt")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin: byte 0x{data[error.start]:02x} at {error.start} is not valid UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def _encode(engine: Engine, text: str, chat: bool) -> list[int]:
    if engine.tokenizer is None:
        raise UsageError(
            "this plan has no tokenizer, so it takes no text: give --ids, or build it from a checkpoint's folder that "
            "has tokenizer.json"
        )
    return engine.tokenizer.chat_ids([{"role": "user", "content": text}]) if chat else engine.tokenizer.encode(text)


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
    _tell_speed(pieces.timing, pieces.finish_reason)


def _stream_ids(engine: Engine, prompt_ids: list[int], options: dict[str, Any]) -> None:
    written = 0

    def show(row: int, token: int) -> None:
        nonlocal written
        write_text(f"{',' if written else ''}{token}")
        written += 1

    try:
        result = engine.run(prompt_ids, on_token=show, **options)
    except (KeyboardInterrupt, EngineError):
        if written:
            write_text("\n")
        raise
    write_text("\n")
    _tell_speed(result.timing, result.finish_reasons[0])


def _tell_speed(timing: Timing, finish_reason: FinishReason | None) -> None:
    if not sys.stderr.isatty():
        return
    # The first token comes with the prefill.
    rate = f", {(timing['new_tokens'] - 1) / timing['decode_s']:.1f} tokens/s" if timing["new_tokens"] > 1 else ""
    ending = {"eos": "end token", "stop": "stop", "length": "limit"}[finish_reason or "length"]
    note(f"{timing['prompt_tokens']} + {timing['new_tokens']} tokens{rate}, ended by {ending}")


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
        option = "stop-token" if name == "stop_token_ids" else name.replace("_", "-")
        raise UsageError(f"{engine.manifest.family} is an encoder and writes no tokens: --{option} has no effect")
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
