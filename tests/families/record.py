"""Record tests/golden from the references: python -m tests.families.record [family ...]."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from archc.archspec.source.catalog import shipped
from tests.families.built import Built, use_one_thread
from tests.families.collection import cases_of
from tests.families.golden import golden_file, record


def main(families: list[str]) -> None:
    """Write the golden file of each family, or of all."""
    use_one_thread()
    for family in families or shipped():
        with tempfile.TemporaryDirectory() as folder:
            cases = [Built(family, case, Path(folder) / case.name) for case in cases_of(family)]
            text = json.dumps(record(family, cases), indent=1)
        golden_file(family).parent.mkdir(exist_ok=True)
        golden_file(family).write_text(_compact(text) + "\n", "utf-8")
        print(f"{golden_file(family).name}: {len(cases)} cases", file=sys.stderr)


def _compact(text: str) -> str:
    """Put each list of numbers on one line of its own."""
    lines: list[str] = []
    for line in text.splitlines():
        number = line.strip().rstrip(",").lstrip("-").replace(".", "").replace("e-", "").isdigit()
        closes = line.strip().rstrip(",") == "]" and not lines[-1].rstrip().endswith("]")
        if (number or closes) and lines:
            joint = "" if lines[-1].endswith("[") or closes else " "
            lines[-1] += joint + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
