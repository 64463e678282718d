"""A fuzz of overrides: every combination is a graph with a manifest, or an error with a place."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from archc.archspec import load_spec, read_config
from archc.compiler.contract.dtypes import TORCH_DTYPES
from archc.compiler.lower import lower
from archc.compiler.modules.model import Model, meta_model
from archc.compiler.options import BuildOptions, choose_options
from archc.compiler.output.manifest import describe
from archc.compiler.output.weights_file import assign_offsets
from archc.compiler.output.writing import serialize
from archc.compiler.weights.checkpoint.generation import SpecialTokens
from archc.error import Error
from archc.plan.manifest import encode_manifest, parse_manifest
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


def check_contract(model: Model, options: BuildOptions) -> None:
    """Lower a model, and read the manifest of its plan back, which checks it as the runtime does."""
    lowered = lower(model, options, model.spec.context)
    stored = assign_offsets(*lowered.graphs.values())
    assert all(serialize(graph) for graph in lowered.graphs.values())
    if options.target.engine:
        return  # its manifest describes the built engines
    manifest = describe(model.spec, options, lowered, [item.tensor for item in stored], SpecialTokens())
    assert parse_manifest(encode_manifest(manifest), "manifest.json") == manifest


def refusal(family: str, config: dict[str, Any], seed: int) -> str | None:
    """Lower a family with random overrides; return the message of a refusal, or None for a graph."""
    generator = random.Random(f"{family} {seed}")
    name = cases_of(family)[0].spec or family
    overrides, form = random_overrides(generator, load_spec(name).bind(config)), generator.choice(FORMS)
    try:
        bound = load_spec(name, overrides).bind(config)
        options = choose_options(*form)
        check_contract(meta_model(bound, TORCH_DTYPES[options.dtype]), options)
    except Error as error:
        return str(error)
    except Exception as error:
        raise AssertionError(
            f"{family} on {form} with {' '.join(f'--set {text!r}' for text in overrides)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return None


def check(family: str, folder: Path, seeds: range) -> None:
    """Check the outcome of each seed; many must be graphs, because a fuzz that meets refusals alone tests nothing."""
    config = config_of(family, folder)
    messages = [refusal(family, config, seed) for seed in seeds]
    refusals = [message for message in messages if message is not None]
    assert len(refusals) <= len(seeds) * 4 // 5
    assert all(": " in line for message in refusals for line in message.splitlines()), "a place and a fault"


@pytest.mark.parametrize("family", FAMILIES)
def test_overrides_end_in_a_graph_or_an_error(family: str, tmp_path: Path) -> None:
    check(family, tmp_path, range(10))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS])
def test_many_overrides_end_in_a_graph_or_an_error(family: str, tmp_path: Path) -> None:
    check(family, tmp_path, range(10, 80))
