"""Endpoints that generate text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response

from archc.runtime.serving.service import Service
from archc.serve.bodies import read_body
from archc.serve.chat import encode_chat
from archc.serve.context import Context
from archc.serve.errors import bad
from archc.serve.forms import ChatForm, Echo, Form, TextForm
from archc.serve.generation import Encode, Generation, leased, start
from archc.serve.logprobs import texts_of
from archc.serve.prompts import chat_messages, split_prompts
from archc.serve.replies import ChoiceWriter, EventStream, whole
from archc.serve.sampling import check_completion
from archc.serve.schema import ChatRequest, CompletionRequest, GenerationRequest, decode

FormOf = Callable[[Generation], Form]


async def completions(request: Request) -> Response:
    """POST /v1/completions."""
    asked = decode(CompletionRequest, await read_body(request))
    check_completion(asked)
    prompts = split_prompts(asked.prompt)

    def encode(service: Service) -> list[list[int]]:
        return [service.encode_prompt(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]

    def form(generation: Generation) -> Form:
        service = generation.model.loaded
        echoes = list[Echo]()
        if asked.echo:
            pairs = zip(prompts, generation.prompts, strict=True)
            shown = [_echo(service, prompt, ids, asked.logprobs is not None) for prompt, ids in pairs]
            echoes = [echo for echo in shown for _ in range(generation.count)]
        has_ids = bool(asked.return_token_ids) or not isinstance(prompts[0], str)
        return TextForm(texts_of(service.tokenizer), asked.logprobs is not None, has_ids, echoes)

    return await _answer(request, asked, encode, form, len(prompts))


def _echo(service: Service, prompt: str | list[int], ids: Sequence[int], has_pieces: bool) -> Echo:
    """Return a prompt, a text or ids, as the beginning of an answer."""
    if service.tokenizer is None:
        raise bad("echo: the plan has no tokenizer, so ids have no text; leave it out", "echo")
    text = prompt if isinstance(prompt, str) else service.tokenizer.decode(prompt)
    detokenizer = service.tokenizer.stream()
    return Echo(text, ids, [detokenizer.push(token) for token in ids] if has_pieces else [])


async def chat_completions(request: Request) -> Response:
    """POST /v1/chat/completions."""
    asked = decode(ChatRequest, await read_body(request))
    messages = chat_messages(asked.messages)

    def form(generation: Generation) -> Form:
        service, demands = generation.model.loaded, generation.demands
        prompt = generation.prompts[0]
        return ChatForm(
            texts_of(service.tokenizer),
            bool(asked.logprobs),
            bool(asked.return_token_ids),
            lambda index: demands.parser(service, prompt),
        )

    return await _answer(request, asked, lambda service: [encode_chat(service, asked, messages)], form, 1)


async def _answer(request: Request, asked: GenerationRequest, encode: Encode, form: FormOf, prompts: int) -> Response:
    context: Context = request.app.state.context
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(leased(context, asked.model))
        generation = await start(context, model, asked, encode, prompts)
        try:
            chosen = await asyncio.to_thread(form, generation)
        except BaseException:
            generation.cancel()
            raise
        if not asked.stream:
            return await whole(generation, chosen, request.receive)
        has_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        return EventStream(generation, ChoiceWriter(generation, chosen, has_usage), stack.pop_all())
    raise AssertionError  # the stack suppresses no exception
