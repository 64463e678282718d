"""The choice of a replica by the beginning of a prompt.

Requests whose prompts begin alike have one key, and a key has one order of the replicas by rendezvous hashing (Thaler
and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998,
section 3): each replica has a pseudo-random weight for the key, and the largest is first. Every gateway computes the
same order without shared state, and a replica that comes or goes moves its own keys only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_CHARACTERS, _IDS = 256, 64  # of a prompt without messages


class _Body(msgspec.Struct):
    model: Any = None
    prompt_cache_key: Any = None
    messages: Any = None
    prompt: Any = None
    input: Any = None


_decoder = msgspec.json.Decoder(_Body)
_encode = msgspec.json.Encoder(order="deterministic").encode


def key_of(body: bytes) -> str:
    """Return the key of a request; an empty one, for a body that is not valid, fits any replica.

    It is made of the field `prompt_cache_key`, otherwise of the messages up to the first one of a user, which all turns
    of a conversation share, or of the first characters or ids of a prompt; and of the model's name.
    """
    try:
        asked = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return ""
    beginning = asked.prompt_cache_key or _beginning(asked)
    if not beginning:
        return ""
    return hashlib.blake2b(_encode([asked.model, beginning]), digest_size=16).hexdigest()


def _beginning(asked: _Body) -> Any:
    if isinstance(asked.messages, list):
        roles = [message.get("role") if isinstance(message, dict) else None for message in asked.messages]
        end = roles.index("user") + 1 if "user" in roles else len(roles)
        return [_content(message) for message in asked.messages[:end]]
    prompt = asked.prompt if asked.prompt is not None else asked.input
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt[:_CHARACTERS]
    return prompt[:_IDS] if isinstance(prompt, list) else None


def _content(message: Any) -> Any:
    """Return the role and content of a message; clients repeat other fields in other forms."""
    return [message.get("role"), message.get("content")] if isinstance(message, dict) else message


def order_replicas(key: str, loads: Mapping[str, int], slots: int) -> list[str]:
    """Return the ids of replicas in the order in which to try them; `loads` are requests at each.

    The key's own order holds among the replicas with fewer than `slots` requests more than the least loaded one; the
    others follow by load. Without a key, all are in the order of their load.
    """
    if not loads:
        return []
    ids = sorted(loads, key=lambda replica: (loads[replica], _weight(key, replica)))
    if not key:
        return ids
    most = loads[ids[0]] + slots
    near = [replica for replica in ids if loads[replica] < most]
    return [*_ranked(key, near), *(replica for replica in ids if loads[replica] >= most)]


def _ranked(key: str, ids: Sequence[str]) -> list[str]:
    return sorted(ids, key=lambda replica: _weight(key, replica), reverse=True)


def _weight(key: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{key}\n{replica}".encode(), digest_size=8).digest()
