"""Record tests/families/data/golden.jsonl from the references: python -m tests.families.record [family ...]."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from archc.archspec.source.catalog import shipped
from archc.proof.built import Built, use_one_thread
from tests.families.collection import all_cases, cases_of
from tests.families.golden import FILE, record, recorded_cases


def main(families: list[str]) -> None:
    """Write the lines of each family's cases, or of all, and remove those of cases that no longer exist."""
    use_one_thread()
    lines = dict(recorded_cases())
    for family in families or shipped():
        for case in cases_of(family):
            with tempfile.TemporaryDirectory() as folder:
                lines[family, case.name] = record(Built(family, case, Path(folder)))
        print(f"{family}: {len(cases_of(family))} cases", file=sys.stderr)
    names = [(family, case.name) for family, case in all_cases()]
    texts = [json.dumps(lines[name], separators=(",", ":")) for name in names if name in lines]
    FILE.write_text("".join(f"{text}\n" for text in texts), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
