"""The prompts of a generation: texts, chat messages, or ids, and those of an encoder-decoder's decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archc.plan.manifest import Manifest
from archc.runtime.errors import PromptError
from archc.runtime.inputs.prompts import IdsLike, Ints, check_ids
from archc.runtime.state.encoder import EncoderRunner, check_decoder_ids
from archc.runtime.text.tokenizer import Tokenizer


def encode_prompt(
    tokenizer: Tokenizer, prompt: str | IdsLike | Sequence[Mapping[str, Any]], chat: bool, parse_special: bool
) -> IdsLike:
    """Return the ids of a text or of chat messages; ids are returned unchanged."""
    if parse_special and (chat or not isinstance(prompt, str)):
        raise PromptError(
            "parse_special: expected a text; special tokens of chat messages are always plain text, and ids are "
            "not parsed"
        )
    if chat:
        return tokenizer.chat_ids([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)  # type: ignore[arg-type]
    if isinstance(prompt, str):
        return tokenizer.encode(prompt, parse_special=parse_special)
    return prompt  # type: ignore[return-value]


def decoder_prompts(
    manifest: Manifest,
    encoder: EncoderRunner | None,
    ids: IdsLike,
    decoder_ids: IdsLike | None,
    start: Sequence[int] = (),
) -> tuple[Ints, Ints]:
    """Return the decoder's prompts, int64 [batch, seq], and the length of each; validate the source as well.

    Without `decoder_ids`, the prompts of an encoder-decoder are `start`, by default the plan's start tokens.
    """
    if encoder is None:
        reject_decoder_ids(decoder_ids, manifest)
        return check_ids(ids, manifest.limits)
    source, _ = check_ids(ids, encoder.limits)
    if decoder_ids is None and start:
        decoder_ids = [list(start)] * len(source)
    return check_decoder_ids(decoder_ids, len(source), manifest)


def reject_decoder_ids(decoder_ids: IdsLike | None, manifest: Manifest) -> None:
    """Raise PromptError for decoder prompts of a plan without an encoder."""
    if decoder_ids is not None:
        raise PromptError(
            f"decoder_ids: not supported by {manifest.family}, which is not an encoder-decoder; leave them out"
        )
