"""A fuzz of overrides: every combination is a lowered graph, or an error with a place and a remedy."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from archc.archspec import load_spec, read_config
from archc.compiler.contract.inputs_outputs import DTYPES
from archc.compiler.lower import lower
from archc.compiler.modules.model import meta_model
from archc.compiler.options import choose_options
from archc.error import Error
from tests.families.collection import cases_of
from tests.families.random_overrides import random_overrides

FAMILIES = ("llama", "bert", "t5", "deepseek-v2", "jamba", "gemma2", "gpt-oss", "rwkv7", "chatglm", "yuan2")
# Target, dtype, quantization and cache.
FORMS = (
    ("ort-cpu", None, None, None),
    ("ort-cpu", None, "int8", None),
    ("ort-cpu", None, "int4", "int8"),
    ("ort-cuda", None, None, None),
    ("onnx", None, None, None),
    ("tensorrt-rtx", None, None, None),
    ("tensorrt-rtx", None, "int8", None),
)
OTHERS = ("rwkv4", "bloom", "qwen", "phi3", "mixtral", "albert", "roberta", "cohere2", "mpt", "opt")


@cache
def config_of(family: str, folder: Path) -> dict[str, Any]:
    """Return the config.json of the family's first case."""
    cases_of(family)[0].make().save(folder / family)
    return read_config(folder / family)


def outcome(family: str, config: dict[str, Any], seed: int) -> str:
    """Lower a family with random overrides; return "lowered", or "refused" for an error with a message."""
    generator = random.Random(f"{family} {seed}")
    name = cases_of(family)[0].spec or family
    overrides, form = random_overrides(generator, load_spec(name).bind(config)), generator.choice(FORMS)
    try:
        bound = load_spec(name, overrides).bind(config)
        options = choose_options(*form)
        lower(meta_model(bound, DTYPES[options.dtype]), options, bound.context)
    except Error as error:
        assert all(": " in line for line in str(error).splitlines()), f"no place: {error}"
        return "refused"
    except Exception as error:
        raise AssertionError(
            f"{family} on {form} with {' '.join(f'--set {text!r}' for text in overrides)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return "lowered"


def check(family: str, folder: Path, seeds: range) -> None:
    """Check the outcome of each seed; some must be lowered, because a fuzz that only meets refusals tests nothing."""
    config = config_of(family, folder)
    outcomes = Counter(outcome(family, config, seed) for seed in seeds)
    assert outcomes["lowered"] >= len(seeds) // 5, outcomes
    assert outcomes["refused"] > 0, outcomes


@pytest.mark.parametrize("family", FAMILIES)
def test_overrides_end_in_a_graph_or_an_error(family: str, tmp_path: Path) -> None:
    check(family, tmp_path, range(10))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", (*FAMILIES, *OTHERS))
def test_many_overrides_end_in_a_graph_or_an_error(family: str, tmp_path: Path) -> None:
    check(family, tmp_path, range(10, 80))
