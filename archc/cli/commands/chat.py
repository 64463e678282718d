"""`archc chat`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from archc.cli.commands.generation_options import with_generation_options
from archc.cli.commands.options import Draft, DraftTokens, Plan, Threads, check_text, draft_options
from archc.cli.console import UsageError, note


@with_generation_options
def chat_command(
    plan: Plan,
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT|@FILE", help="System prompt, or a file that holds it.")
    ] = None,
    load: Annotated[
        Path | None, typer.Option("--load", metavar="FILE", help="Continue a conversation that /save wrote.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the number of tokens of each turn.")] = False,
    draft: Draft = None,
    draft_tokens: DraftTokens = None,
    threads: Threads = None,
    *,
    options: dict[str, Any],
) -> None:
    """Hold a conversation. /help lists its commands; Ctrl-C stops an answer, Ctrl-D ends.

    The plan must have a chat template. The next turn computes only the tokens that are new. Of a pipe, each line is a
    message, and an error ends the chat.
    """
    if options.get("num_beams", 1) > 1:
        raise UsageError("--num-beams is not supported in a chat; use archc run")
    if system is not None and load is not None:
        raise UsageError("--system and --load contradict each other; remove one, and use /system in the chat")
    drafts = draft_options(draft, draft_tokens, options)
    prompt = _system_prompt(system) if system is not None else None

    from archc.cli.chat.conversation import Conversation, read_conversation
    from archc.cli.chat.reader import editor_reader, line_reader
    from archc.cli.chat.session import Session
    from archc.runtime.backends.prepack import Prepack
    from archc.runtime.serving.service import Service, ServiceOptions

    conversation = read_conversation(load) if load is not None else Conversation(prompt)
    is_interactive = sys.stdin is not None and sys.stdin.isatty()
    service = Service(plan, ServiceOptions(slots=1, threads=threads, prepack=Prepack.AUTO, **drafts))
    try:
        if service.tokenizer is None:
            raise UsageError(f"{plan}: the plan has no tokenizer; use archc run {plan} --ids 1,2,3")
        if service.tokenizer.template is None:
            raise UsageError(f'{plan}: the plan has no chat template; use archc run {plan} "TEXT"')
        session = Session(service, options, conversation, verbose)
        read = editor_reader(list(session.commands)) if is_interactive else line_reader()
        if is_interactive:
            note(f"{service.manifest.family}, {service.manifest.limits.max_seq_len} tokens; /help lists the commands")
        session.run(read, is_interactive)
    finally:
        service.close()


def _system_prompt(text: str) -> str:
    """Return the system prompt of --system. Raises UsageError for a file that is no UTF-8 text."""
    if not text.startswith("@"):
        return check_text(text, "--system")
    path = Path(text[1:])
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise UsageError(f"--system: {path} is not UTF-8; convert it") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"--system: {path}: {getattr(error, 'strerror', None) or error}; check the path") from None
