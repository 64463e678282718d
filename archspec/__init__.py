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

from archc.archspec.binding.bound_spec import BoundSpec
from archc.archspec.binding.spec import Spec
from archc.archspec.config.reader import parse_config, read_config
from archc.archspec.detection import detect_by_tensors, detect_spec
from archc.archspec.docs.json_schema import json_schema
from archc.archspec.errors import ArchspecError, ConfigError, Problem, SpecError, WeightsError
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
