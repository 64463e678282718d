"""The table of verified families: python -m tests.families.table [--write] [family ...].

Prints the table, or writes it to docs/families.md; with names, for those families alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from archc.archspec.source.catalog import shipped
from tests.families import checks
from tests.families.built import Built, for_tiny_models
from tests.families.collection import cases_of, module_name
from tests.families.golden import check_golden
from tests.families.graph_rules import check_graph

OUT = Path(__file__).parent.parent.parent / "docs" / "families.md"
HEAD = """# Families

Every spec of `specs/` with its verification: on tiny random checkpoints with nonzero biases and non-trivial norms,
archc's float32 outputs are compared with an independent reference. The numbers are the largest absolute differences;
a test fails at {tolerance:g}.

- **plan**: the plan for ONNX Runtime on the CPU, whole sequences. **torch**: the same model in torch.
  **portable**: the portable ONNX graph in plain ONNX Runtime, prefill and then single tokens.
- **cache**: the plan in steps of 1, 3 and random numbers of tokens. **ragged**: rows of several lengths in one batch,
  each compared with the reference alone.
- **golden**: a decoder's greedy tokens equal the recorded ones; an encoder's outputs match the recorded ones.
- **graph**: the portable graph has standard operators only, explicit masks, and an in-place cache.

Written by `python -m tests.families.table --write`.

| family | case | parameters | plan | torch | portable | cache | ragged | golden | graph | reference |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def main(arguments: list[str]) -> int:
    """Prints or writes the table; 1 where a check fails."""
    for_tiny_models()
    families = [argument for argument in arguments if argument != "--write"] or list(shipped())
    rows = [row(family, index) for family in families for index in range(len(cases_of(family)))]
    text = HEAD.format(tolerance=checks.TOLERANCE) + "".join(rows)
    text += "".join(f"\n**fails**: {name} is proven by nothing.\n" for name in families if not cases_of(name))
    if "--write" in arguments:
        OUT.write_text(text, "utf-8")
    else:
        print(text, end="")
    return int("**fails**" in text)


def row(family: str, index: int) -> str:
    """One case's line."""
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
            built.reference.source,
        ]
        built.close()
    print(f"{module_name(family)} {case.name}", file=sys.stderr)
    return f"| {' | '.join(cells)} |\n"


def cell(check: Callable[[], float | None]) -> str:
    """A check's result as a word or a number."""
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
