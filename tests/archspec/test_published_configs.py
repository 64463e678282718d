"""Every published config.json on record binds: keys without effect are no reason to refuse it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from archc.archspec import list_specs, load_spec
from tests.archspec.samples import DATA, matching_specs

PUBLISHED: list[dict[str, Any]] = [
    json.loads(line) for line in gzip.decompress((DATA / "published_configs.jsonl.gz").read_bytes()).splitlines()
]
# Specs without one: only the files that their classes of transformers save have been bound.
UNRECORDED = set((DATA / "unpublished.txt").read_text("utf-8").split())


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: f"{published['spec']}-{published['source']}")
def test_a_published_config_binds(published: dict[str, Any]) -> None:
    bound = load_spec(published["spec"]).bind(published["config"])
    assert bound.layers
    assert published["spec"] in matching_specs(published["config"]) or published["spec"].startswith("deepseek-")


def test_every_spec_of_a_hub_family_has_a_published_config() -> None:
    detected = {spec.name for spec in list_specs() if load_spec(spec.name).model_types} - {"transformer"}
    assert len(PUBLISHED) >= 60
    published = {published["spec"] for published in PUBLISHED}
    assert detected - published == UNRECORDED, "record it in data/published_configs.jsonl.gz, or update unpublished.txt"
