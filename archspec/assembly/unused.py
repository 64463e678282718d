"""Checks of a spec that is otherwise valid: declared names and sizes without effect are errors."""

from __future__ import annotations

import fnmatch
from typing import Any

from archc.archspec.assembly.checked_spec import CheckedSpec
from archc.archspec.config.neutral_keys import is_neutral
from archc.archspec.config.rope_settings import canonical_config
from archc.archspec.errors import ConfigError, Problem, clip, did_you_mean, join_hints
from archc.archspec.source.nodes import ListNode, MappingNode, ScalarNode, join_path, to_python


def unused_names(spec: CheckedSpec) -> list[Problem]:
    """Return a problem for each name that the file itself declares and nothing reads.

    Inherited names may be unused, because a child may replace the section that reads them.
    """
    problems = []
    for section in ("config", "derive"):
        own = spec.raw.tree.get(section)
        for name, mark in own.key_marks.items() if isinstance(own, MappingNode) else ():
            declared = spec.names.config if section == "config" else spec.names.derived  # null removes a name
            if name not in spec.read and name in declared:
                hint = "use it in a section" + (", or list it under `ignore_config:`" if section == "config" else "")
                problems.append(mark.problem(join_path(section, name), f"unused name '{name}'", hint))
    own_patterns = spec.raw.tree.get("ignore_config")
    for pattern in own_patterns.items if isinstance(own_patterns, ListNode) else ():
        text = str(pattern.value) if isinstance(pattern, ScalarNode) else ""
        match = next((name for name in spec.names.config if fnmatch.fnmatchcase(name, text)), None)
        if match in spec.read:
            message = f"'{clip(text)}' matches '{match}', which the spec reads"
            problems.append(pattern.mark.problem("ignore_config", message, "use a narrower pattern"))
    return problems


def check_sizes(spec: CheckedSpec, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Return the named sizes in canonical spelling; append problems to `problems`.

    Unused keys are problems only if there are no others, because a faulty section reads nothing.
    """
    is_sound = not problems
    node = spec.raw.sizes
    if node is None:
        return {}
    if not isinstance(node, MappingNode):
        problems.append(node.mark.problem("sizes", "expected a mapping from names of sizes to config values"))
        return {}
    sizes: dict[str, dict[str, Any]] = {}
    for name, values in node.entries.items():
        path = join_path("sizes", name)
        if not isinstance(values, MappingNode):
            problems.append(values.mark.problem(path, "expected a mapping from config names to values"))
            continue
        try:
            sizes[name] = canonical_config(to_python(values), "")
        except ConfigError as error:
            problems += [values.mark.problem(join_path(path, p.path), p.message, p.hint) for p in error.problems]
            continue
        for key, value in sizes[name].items() if is_sound else ():
            if not spec.reads_config(key) and not (key not in values.entries and is_neutral(key, value)):
                hint = join_hints(did_you_mean(key, spec.read), "use names declared in `config:`")
                mark = values.key_marks.get(key, values.mark)
                problems.append(mark.problem(join_path(path, key), f"unused key '{clip(key)}'", hint))
    return sizes
