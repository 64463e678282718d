"""Endpoints that generate text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from archc.runtime.serving.service import Service
from archc.serve.bodies import read_body
from archc.serve.chat import demands_of
from archc.serve.context import Context
from archc.serve.errors import bad
from archc.serve.forms import ChatForm, Form, TextForm
from archc.serve.generation import Encode, Generation, leased, start
from archc.serve.logprobs import texts_of
from archc.serve.prompts import chat_messages, split_prompts
from archc.serve.replies import EventStream, whole
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
        before = list[str]()
        if asked.echo:
            shown = [p if isinstance(p, str) else _text(service, p) for p in prompts]
            before = [text for text in shown for _ in range(generation.count)]
        has_ids = bool(asked.return_token_ids) or not isinstance(prompts[0], str)
        return TextForm(texts_of(service.tokenizer), asked.logprobs is not None, has_ids, before)

    return await _answer(request, asked, encode, form, len(prompts))


def _text(service: Service, ids: list[int]) -> str:
    if service.tokenizer is None:
        raise bad("echo: the plan has no tokenizer, so ids have no text; leave it out", "echo")
    return service.tokenizer.decode(ids)


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

    def encode(service: Service) -> list[list[int]]:
        tools = demands_of(service, asked).tools
        variables: dict[str, Any] = {"tools": [tool.template_value for tool in tools]} if tools else {}
        return [service.encode_prompt(messages, **variables)]

    return await _answer(request, asked, encode, form, 1)


async def _answer(request: Request, asked: GenerationRequest, encode: Encode, form: FormOf, prompts: int) -> Response:
    context: Context = request.app.state.context
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(leased(context, asked.model))
        generation = await start(context, model, asked, encode, prompts)
        chosen = form(generation)
        if not asked.stream:
            return await whole(generation, chosen, request.receive)
        has_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        return EventStream(generation, chosen, has_usage, stack.pop_all())
    raise AssertionError  # the stack suppresses no exception
