"""archspec: the spec language, in which archc describes model families.

A spec is a YAML file. `load_spec` reads and checks it, `Spec.bind` evaluates it with the sizes of a checkpoint's
config.json, and the resulting `BoundSpec` is the input of the compiler. Rooms, from the bottom up:

    errors.py      problems with place, fault and remedy
    vocabulary/    the sections that a spec consists of, and their schemas
    source/        YAML → one tree: `extends`, merging, `--set`, shipped specs
    checking/      trees → checked nodes; expressions; rules for combinations
    config/        config.json → values of names
    weights/       the weight table: checkpoint tensors → weight slots
    assembly/      the checked spec with its variants
    binding/       checked spec + config values → BoundSpec
    loading.py     load_spec: all of the above in order
    detection.py   config.json → name of a shipped spec
    docs/          JSON Schema and vocabulary page, generated from the vocabulary
"""

from typing import TYPE_CHECKING

from archc.archspec.errors import ArchspecError, ConfigError, Problem, SpecError, WeightsError
from archc.lazy import lazy_names

if TYPE_CHECKING:
    from archc.archspec.binding.bound_spec import BoundSpec
    from archc.archspec.binding.spec import Spec
    from archc.archspec.config.reader import parse_config, read_config
    from archc.archspec.detection import detect_by_tensors, detect_spec
    from archc.archspec.docs.json_schema import json_schema
    from archc.archspec.loading import load_spec, load_spec_text
    from archc.archspec.source.catalog import ShippedSpec, find_spec, list_specs, specs_dir
    from archc.archspec.vocabulary.verbs import Concat, Normalize, Reshape, Select, Split, Stack, Step, Transpose
    from archc.archspec.weights.resolve import BoundWeights, Resolution, TensorRef

__all__ = [
    "ArchspecError",
    "BoundSpec",
    "BoundWeights",
    "Concat",
    "ConfigError",
    "Normalize",
    "Problem",
    "Reshape",
    "Resolution",
    "Select",
    "ShippedSpec",
    "Spec",
    "SpecError",
    "Split",
    "Stack",
    "Step",
    "TensorRef",
    "Transpose",
    "WeightsError",
    "detect_by_tensors",
    "detect_spec",
    "find_spec",
    "json_schema",
    "list_specs",
    "load_spec",
    "load_spec_text",
    "parse_config",
    "read_config",
    "specs_dir",
]

_MODULES = {
    "BoundSpec": "archc.archspec.binding.bound_spec",
    "BoundWeights": "archc.archspec.weights.resolve",
    "Concat": "archc.archspec.vocabulary.verbs",
    "Normalize": "archc.archspec.vocabulary.verbs",
    "Reshape": "archc.archspec.vocabulary.verbs",
    "Resolution": "archc.archspec.weights.resolve",
    "Select": "archc.archspec.vocabulary.verbs",
    "ShippedSpec": "archc.archspec.source.catalog",
    "Spec": "archc.archspec.binding.spec",
    "Split": "archc.archspec.vocabulary.verbs",
    "Stack": "archc.archspec.vocabulary.verbs",
    "Step": "archc.archspec.vocabulary.verbs",
    "TensorRef": "archc.archspec.weights.resolve",
    "Transpose": "archc.archspec.vocabulary.verbs",
    "detect_by_tensors": "archc.archspec.detection",
    "detect_spec": "archc.archspec.detection",
    "find_spec": "archc.archspec.source.catalog",
    "json_schema": "archc.archspec.docs.json_schema",
    "list_specs": "archc.archspec.source.catalog",
    "load_spec": "archc.archspec.loading",
    "load_spec_text": "archc.archspec.loading",
    "parse_config": "archc.archspec.config.reader",
    "read_config": "archc.archspec.config.reader",
    "specs_dir": "archc.archspec.source.catalog",
}

# Listing the shipped specs needs neither pydantic nor the vocabulary.
__getattr__ = lazy_names(__name__, _MODULES)
