"""Inputs and outputs of a plan as a Triton model, and its config.pbtxt.

The format of the file is `inference.ModelConfig` of Triton's model_config.proto, in protobuf's text form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.runtime.errors import PromptError

Values = NDArray[Any]


@dataclass(frozen=True)
class Port:
    """An input or output: a Triton type, one dimension, and the option of a generation that an input sets."""

    name: str
    type: str
    size: int = 1
    option: str | None = None


PROMPTS = (Port("prompt", "STRING"), Port("messages", "STRING"), Port("ids", "INT64", -1))
"""A text, chat messages as JSON, and token ids; a request has one of them."""

OPTIONS = (
    Port("max_tokens", "INT64", option="max_new_tokens"),
    Port("min_tokens", "INT64", option="min_new_tokens"),
    Port("temperature", "FP32", option="temperature"),
    Port("top_p", "FP32", option="top_p"),
    Port("top_k", "INT64", option="top_k"),
    Port("min_p", "FP32", option="min_p"),
    Port("repetition_penalty", "FP32", option="repetition_penalty"),
    Port("presence_penalty", "FP32", option="presence_penalty"),
    Port("frequency_penalty", "FP32", option="frequency_penalty"),
    Port("seed", "UINT64", option="seed"),
    Port("stop", "STRING", -1, option="stop"),
    Port("stop_token_ids", "INT64", -1, option="stop_token_ids"),
    Port("ignore_eos", "BOOL", option="ignore_eos"),
    Port("json_schema", "STRING", option="json_schema"),
    Port("regex", "STRING", option="regex"),
    Port("grammar", "STRING", option="grammar"),
)

OUTPUTS = (Port("text", "STRING"), Port("tokens", "INT64", -1), Port("finish_reason", "STRING"))
"""The text and the token ids since the last response; the reason is empty before the last one."""


def read_input(port: Port, values: Values) -> Any:
    """Return the value of an input: one number, truth or text, or a list of them. Raises PromptError."""
    items = values.reshape(-1).tolist()
    if port.size == 1 and len(items) != 1:
        raise PromptError(f"{port.name}: expected one element, got {len(items)}")
    if port.type == "STRING":
        items = [_text(port.name, item) for item in items]
    return items[0] if port.size == 1 else items


def _text(name: str, item: bytes | str) -> str:
    try:
        return item.decode() if isinstance(item, bytes) else item
    except UnicodeDecodeError as error:
        raise PromptError(f"{name}: byte 0x{item[error.start]:02x} at {error.start} is not valid UTF-8") from None


def write_output(value: str | list[int]) -> Values:
    """Return the array of a text or of token ids."""
    return np.array([value.encode()], object) if isinstance(value, str) else np.array(value, np.int64)


def config_text(name: str, slots: int, queue: int, threads: int | None) -> str:
    """Return config.pbtxt of a decoupled model. It has no batches, because the slots of the plan compute them."""
    inputs = ",\n".join(_port(port, optional=True) for port in (*PROMPTS, *OPTIONS))
    outputs = ",\n".join(_port(port, optional=False) for port in OUTPUTS)
    parameters = {"slots": slots, "queue": queue} | ({"threads": threads} if threads is not None else {})
    return (
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: 0\n'
        "model_transaction_policy { decoupled: true }\n"
        "instance_group [ { kind: KIND_CPU, count: 1 } ]\n"
        f"input [\n{inputs}\n]\noutput [\n{outputs}\n]\n"
        + "".join(
            f'parameters {{ key: "{key}", value {{ string_value: "{value}" }} }}\n' for key, value in parameters.items()
        )
    )


def _port(port: Port, optional: bool) -> str:
    ending = ", optional: true" if optional else ""
    return f'  {{ name: "{port.name}", data_type: TYPE_{port.type}, dims: [ {port.size} ]{ending} }}'
