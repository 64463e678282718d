"""The table of checks and measured differences: python -m tests.families.table [--write] [family ...].

It is printed, or written to docs/families.md; with names, only the rows of these families are.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from archc.archspec.source.catalog import shipped
from archc.proof import checks
from archc.proof.built import Built, use_one_thread
from archc.proof.graph_rules import check_graph
from tests.families.collection import cases_of, module_name
from tests.families.golden import check_golden
from tests.families.pages import put, with_rows

OUT = Path(__file__).parent.parent.parent / "docs" / "families.md"
HEAD = """# Families

The checks of the first case of every spec in `specs/`; the tests have further cases. On tiny random checkpoints with
nonzero biases and non-trivial norm weights, archc's float32 outputs are compared with an independent reference. The
numbers are the largest absolute differences; a test fails at {tolerance:g}.

- **plan**: the plan for ONNX Runtime on the CPU, whole sequences. **torch**: the same model in torch.
  **portable**: the portable ONNX graph in plain ONNX Runtime, a prefill and then single tokens.
- **cache**: the plan fed in steps of 1, of 3 and of random sizes. **ragged**: rows of several lengths in one batch,
  each against the reference alone.
- **golden**: a decoder's greedy tokens equal the recorded ones; recorded logits and encoder outputs are reproduced.
- **graph**: the portable graph has standard operators only, explicit masks, and a cache that is updated in place.

Written by `python -m tests.families.table --write`.

| family | case | parameters | plan | torch | portable | cache | ragged | golden | graph | reference |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def main(arguments: list[str]) -> int:
    """Print or write the table; return 1 if a check fails."""
    use_one_thread()
    names = [argument for argument in arguments if argument != "--write"]
    families = names or list(shipped())
    rows = [row(family, 0) for family in families if cases_of(family)]
    if names and "--write" in arguments:
        put(OUT, with_rows(OUT.read_text("utf-8"), rows), arguments)
        return int(any("**fails**" in row for row in rows))
    text = HEAD.format(tolerance=checks.TOLERANCE) + "".join(rows)
    text += "".join(f"\n**fails**: {name} has no reference and no check.\n" for name in families if not cases_of(name))
    put(OUT, text, arguments)
    return int("**fails**" in text)


def row(family: str, index: int) -> str:
    """Return the line of one case."""
    case = cases_of(family)[index]
    with tempfile.TemporaryDirectory() as folder:
        built = Built(family, case, Path(folder))
        cells = [
            family,
            case.name,
            cell(lambda: checks.check_parameters(built)),
            cell(lambda: checks.check_plan(built)),
            cell(lambda: checks.check_torch(built)),
            cell(lambda: checks.check_portable(built)),
            cell(lambda: checks.check_cache(built)) if built.is_decoder else "no cache",
            cell(lambda: checks.check_ragged(built)),
            cell(lambda: check_golden(built)),
            cell(lambda: [check_graph(path) for path in built.portable.glob("*.onnx")] and None),
            built.reference.provenance,
        ]
        built.close()
    print(f"{module_name(family)} {case.name}", file=sys.stderr)
    return f"| {' | '.join(cells)} |\n"


def cell(check: Callable[[], float | None]) -> str:
    """Return a check's result as a word or a number."""
    try:
        gap = check()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return "**fails**"
    if gap is not None and gap >= checks.TOLERANCE:
        return f"**fails** {gap:.0e}"
    return f"{gap:.0e}" if gap else "equal"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
