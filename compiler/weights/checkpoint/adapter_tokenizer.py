"""The tokenizer that PEFT saves next to an adapter: it replaces the base model's if the adapter has its token table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from archc.archspec.vocabulary import Text
from archc.compiler.text.definition import load
from archc.compiler.text.family import text_files
from archc.compiler.text.formats import find_file
from archc.compiler.weights.checkpoint.adapters import Adapter, AdapterOption

_JSON = "tokenizer.json"


def choose_tokenizer(
    checkpoint: Path,
    adapters: Sequence[AdapterOption],
    text: Text,
    tables: Collection[str],
    warn: Callable[[str], None],
) -> Path | None:
    """Return the adapter folder whose tokenizer replaces the checkpoint's, or None.

    That is an adapter with another vocabulary that saves one of `tables`, the tensors with a row for each token, whole:
    its ids are rows of that table. Another vocabulary without a table is a warning.

    Raises BuildError for a damaged file.
    """
    chosen: Path | None = None
    for option in adapters:
        folder = option.folder
        if folder.resolve() == checkpoint.resolve() or not isinstance(find_file(folder), Path):
            continue
        if _vocabulary(folder, text) == _vocabulary(checkpoint, text):
            continue
        adapter = Adapter(option)
        whole = adapter.whole.keys() - adapter.bases
        if chosen is None and any(name.endswith(f"{table}.weight") for name in whole for table in tables):
            chosen = folder
            continue
        warn(
            f"{folder}: the adapter's tokenizer, which has another vocabulary, is not used; use it "
            f"with --tokenizer {folder}"
        )
    return chosen


def _vocabulary(folder: Path, text: Text) -> Mapping[str, object]:
    """Return the ids of a folder's tokens, or the files of a tokenizer with its own engine in the runtime."""
    files, _ = text_files(folder, None, text, (), lambda message: None)
    if _JSON not in files or len(files.keys() & {"target.json"}):
        return {name: data for name, data in files.items() if name.endswith((".txt", ".json")) and "vocab" in name}
    ids: dict[str, int] = load(files[_JSON], str(folder)).get_vocab(with_added_tokens=True)
    return ids
