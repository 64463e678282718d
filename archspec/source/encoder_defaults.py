"""Defaults of an encoder-decoder: `encoder` inherits the decoder's sections, `cross_attention` the attention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from archc.archspec.errors import Problem
from archc.archspec.source.merging import merge_section
from archc.archspec.source.nodes import MappingNode, ScalarNode, empty_mapping
from archc.archspec.vocabulary import CrossAttention, Encoder, Section
from archc.archspec.vocabulary.schema import keys_of

# Prefixes of the paths of inherited values, and the prefixes of the paths that they are inherited from.
_ORIGINS = {"encoder.": "", "cross_attention.": "attention."}


def complete_sections(sections: MappingNode) -> MappingNode:
    """Return the sections with `encoder` and `cross_attention` filled in; those of other topologies unchanged."""
    topology = sections.get("topology")
    has_encoder = isinstance(topology, ScalarNode) and topology.value == "encoder-decoder"
    if not has_encoder and sections.entries.keys().isdisjoint(("encoder", "cross_attention")):
        return sections
    attention = sections.get("attention")
    attention = attention if isinstance(attention, MappingNode) else empty_mapping(sections.mark)
    entries, key_marks = dict(sections.entries), dict(sections.key_marks)
    for key, section, lower in (("encoder", Encoder, sections), ("cross_attention", CrossAttention, attention)):
        if not has_encoder and key not in entries:
            continue
        upper = entries.get(key, empty_mapping(lower.mark))
        if isinstance(upper, MappingNode):
            entries[key] = _inherit(lower, upper, section)
            key_marks.setdefault(key, lower.mark)
    return MappingNode(entries, key_marks, sections.mark)


def _inherit(lower: MappingNode, upper: MappingNode, section: type[Section]) -> MappingNode:
    """Merge `upper` over those keys of `lower` that the section class has."""
    inherited = {key: node for key, node in lower.entries.items() if key in keys_of(section)}
    marks = {key: lower.key_marks[key] for key in inherited}
    return merge_section(MappingNode(inherited, marks, lower.mark), upper, section)


def drop_inherited_problems(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yield the problems without those of inherited values that are reported at their origin already."""
    every = list(problems)
    reported = {(f"{problem.path}.".lstrip("."), problem.message) for problem in every}
    for problem in every:
        path = f"{problem.path}."
        origins = (origin + path.removeprefix(start) for start, origin in _ORIGINS.items() if path.startswith(start))
        if not any((origin, problem.message) in reported for origin in origins):
            yield problem
