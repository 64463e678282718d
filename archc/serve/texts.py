"""Endpoints of tokenizers."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from archc.runtime.errors import PromptError
from archc.runtime.serving.service import Service
from archc.runtime.text.tokenizer import Tokenizer
from archc.serve.bodies import read_body
from archc.serve.context import Context
from archc.serve.errors import bad
from archc.serve.generation import leased
from archc.serve.prompts import chat_messages
from archc.serve.replies import json_response
from archc.serve.schema import DetokenizeRequest, TokenizeRequest, decode


async def tokenize(request: Request) -> Response:
    """POST /tokenize: ids of a text, or of chat messages."""
    asked = decode(TokenizeRequest, await read_body(request))
    given = [name for name in ("prompt", "content", "messages") if getattr(asked, name) is not None]
    if len(given) != 1:
        raise bad(f"prompt: expected one of prompt, content and messages, got {len(given)}", "prompt")
    context: Context = request.app.state.context
    async with leased(context, asked.model) as model:
        service = model.loaded
        tokens = await asyncio.to_thread(_tokens, service, asked)
        limit = service.manifest.limits.max_seq_len
        return json_response({"tokens": tokens, "count": len(tokens), "max_model_len": limit})


def _tokens(service: Service, asked: TokenizeRequest) -> list[int]:
    if asked.messages is not None:
        return service.encode_prompt(chat_messages(asked.messages))
    text = asked.prompt if asked.prompt is not None else asked.content
    return _tokenizer(service).encode(text or "", asked.add_special_tokens, asked.parse_special)


async def detokenize(request: Request) -> Response:
    """POST /detokenize: the text of ids."""
    asked = decode(DetokenizeRequest, await read_body(request))
    context: Context = request.app.state.context
    async with leased(context, asked.model) as model:
        text = await asyncio.to_thread(_tokenizer(model.loaded).decode, asked.tokens)
        return json_response({"content": text, "prompt": text})


def _tokenizer(service: Service) -> Tokenizer:
    if service.tokenizer is None:
        raise PromptError("the plan has no tokenizer; build it with --tokenizer")
    return service.tokenizer
