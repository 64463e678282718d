"""archspec: the language in which archc describes model families.

A spec is a YAML file. `load_spec` checks it, `Spec.bind` gives it the sizes of a checkpoint's config.json, and the
resulting `BoundSpec` is all that a compiler needs to know.
"""

from archc.archspec.binding.binding import BoundSpec
from archc.archspec.binding.spec import Spec
from archc.archspec.config.reader import parse_config, read_config
from archc.archspec.docs.json_schema import json_schema
from archc.archspec.errors import ArchspecError, ConfigError, Problem, SpecError, WeightsError
from archc.archspec.source.catalog import Listed, detect_spec, find_spec, list_specs, specs_dir
from archc.archspec.source.loading import load_spec, load_spec_text
from archc.archspec.vocabulary.verbs import Concat, Normalize, Reshape, Select, Split, Stack, Step, Transpose
from archc.archspec.weights.resolve import BoundWeights, Resolution, Source

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
