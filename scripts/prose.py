"""Check the English of docstrings, comments, messages and Markdown: python scripts/prose.py [PATH ...].

Prints `file:line: message` and exits with 1 for each sentence that breaks a rule of CONTRIBUTING.md, "Prose".
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_SENTENCE = re.compile(r"(?:^|(?<=[.!?])\s+|\n\s*(?:[-*]|\d+\.)\s+|\n\s*\n\s*)(?=\S)")
_CLAUSE = re.compile(r"(?:\*\*|[\"'(`])*(What|Where|Whether|How)\b(?! to\b)")
_BRITISH = re.compile(
    r"\b\w*(?:quanti|normali|initiali|seriali|optimi|generali|speciali|organi|recogni|summari|factori|synchroni|penali"
    r"|materiali|memori|tokeni|vectori|paralleli)s(?:e|es|ed|er|ers|ing|ations?)\b"
    r"|\b(?:behaviour|colour|favour|neighbour|honour)(?:s|ed|ing|ite|hood)?\b"
    r"|\b(?:licence|centre|fibre|catalogue|analyse|centred|grey|whilst|amongst|artefact|modelling|labelled|cancelled)s?\b",
    re.IGNORECASE,
)
_INSTEAD = {
    "beside": "write 'next to' or 'with'",
    "wants": "things do not want; write 'needs', 'requires' or 'expects'",
    "knows": "things do not know; write 'supports', 'has' or 'reads'",
    "tells": "things do not tell; write 'states', 'describes' or 'identifies'",
    "theirs": "repeat the noun",
}
_WORD = re.compile(rf"\b(?:{'|'.join(_INSTEAD)})\b", re.IGNORECASE)


class Text(NamedTuple):
    """One block of English and the line that it starts on."""

    line: int
    text: str


def texts_of(path: Path) -> Iterator[Text]:
    """Yield the blocks of English of a Markdown or Python file."""
    source = path.read_text("utf-8")
    if path.suffix == ".md":
        yield Text(1, _without_code(source))
        return
    yield from _comments(source)
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None and isinstance(node.body[0], ast.Expr)
    }
    # Strings of tests are their input, those of examples are training data.
    is_data = path.relative_to(ROOT).parts[0] in ("tests", "examples")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_message = not is_data and len(node.value.split()) > 2
            if id(node) in docstrings or is_message:
                yield Text(node.lineno, node.value)


def _without_code(source: str) -> str:
    """Blank out what is code in Markdown; lines keep their numbers."""
    lines, fenced = [], False
    for line in source.splitlines():
        fence = line.lstrip().startswith(("```", "~~~"))
        fenced ^= fence
        lines.append("" if fenced or fence or line.startswith("    ") else re.sub(r"`[^`]*`", "`code`", line))
    return "\n".join(lines)


def _comments(source: str) -> Iterator[Text]:
    """Yield comments, those on consecutive lines as one block."""
    block, first, last = list[str](), 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, own_line = token.start[0], not token.line[: token.start[1]].strip()
        if not (block and own_line and line == last + 1):
            yield from [Text(first, "\n".join(block))] * bool(block)
            block, first = [], line
        block.append(token.string.lstrip("#: "))
        last = line if own_line else -1
    yield from [Text(first, "\n".join(block))] * bool(block)


def problems_of(path: Path) -> Iterator[str]:
    """Yield `file:line: message` for each sentence of a file that breaks a rule."""
    name = path.relative_to(ROOT)
    for first, text in texts_of(path):
        found: list[tuple[int, str]] = []
        for match in _SENTENCE.finditer(text):
            sentence = re.split(r"(?<=[.!?])\s", text[match.end() :], maxsplit=1)[0]
            if (clause := _CLAUSE.match(sentence)) and not sentence.rstrip("*)\"'").endswith("?"):
                found.append((match.end(), f"begins with '{clause[1]} …': begin with a noun or an imperative verb"))
        words, british = _WORD.finditer(text), _BRITISH.finditer(text)
        found += [(match.start(), f"{match[0]!r}: {_INSTEAD[match[0].lower()]}") for match in words]
        found += [(match.start(), f"{match[0]!r}: use American spelling") for match in british]
        for at, message in sorted(found):
            yield f"{name}:{first + text.count(chr(10), 0, at)}: {message}"


def main(arguments: list[str]) -> int:
    """Check the given files, or every tracked one; return the exit code."""
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [Path(name).resolve() for name in arguments] or [ROOT / name for name in listed.stdout.splitlines()]
    problems = [problem for path in paths if path.exists() for problem in problems_of(path)]
    print("\n".join(problems), end="\n" if problems else "")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
