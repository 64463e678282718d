"""archspec: the language in which archc describes model families.

A spec is a YAML file. `load_spec` checks it, `Spec.bind` gives it the sizes of a checkpoint's config.json, and the
resulting `BoundSpec` is all that a compiler needs to know.
"""

from archspec.binding import BoundSpec
from archspec.catalog import Listed, detect_spec, find_spec, list_specs, specs_dir
from archspec.config_json import parse_config, read_config
from archspec.errors import ArchspecError, ConfigError, Problem, SpecError, WeightsError
from archspec.loading import load_spec, load_spec_text
from archspec.schema import json_schema
from archspec.spec import Spec
from archspec.vocabulary.verbs import Concat, Normalize, Reshape, Select, Split, Stack, Step, Transpose
from archspec.weights import BoundWeights, Resolution, Source

__all__ = [
    "ArchspecError",
    "BoundSpec",
    "BoundWeights",
    "Concat",
    "ConfigError",
    "Listed",
    "Normalize",
    "Problem",
    "Reshape",
    "Resolution",
    "Select",
    "Source",
    "Spec",
    "SpecError",
    "Split",
    "Stack",
    "Step",
    "Transpose",
    "WeightsError",
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
