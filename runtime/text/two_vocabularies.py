"""Tokenizer engine of translation models: source and target segmentation with one table of ids."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from archc.runtime.errors import PlanError
from archc.runtime.text.json_file import JsonTokenizer

SOURCE, TARGET, TABLE = "tokenizer.json", "target.json", "vocab.json"
_LANGUAGE = re.compile(r">>[^<>\s]+<<")  # a token for the target language at the beginning of a text


class TwoVocabularies:
    """Unigram models of source (`tokenizer.json`) and target (`target.json`), whose pieces have ids in `vocab.json`.

    Encoding splits text with the source's model and appends `end`; decoding joins pieces as the target's does.
    """

    def __init__(
        self,
        source: bytes,
        target: bytes,
        table: bytes,
        end: str = "</s>",
        unknown: str = "<unk>",
        special: Sequence[str] = ("<pad>",),
    ) -> None:
        self._source = JsonTokenizer(source)
        self._join = JsonTokenizer(target, name=TARGET).join
        self._ids = _read_table(table)
        self._pieces = {token: piece for piece, token in self._ids.items()}
        for piece in (end, unknown):
            if piece not in self._ids:
                raise PlanError(
                    f"tokenizer/{TABLE}: token {piece!r} not found; correct the checkpoint's files and build the plan "
                    "again"
                )
        self._end, self._unknown = self._ids[end], self._ids[unknown]
        self._special = {piece: self._ids[piece] for piece in (end, unknown, *special) if piece in self._ids}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""
        return len(self._ids)

    @property
    def special(self) -> Mapping[str, int]:
        """Return the id of each special token by its text."""
        return self._special

    def encode(self, text: str, add_special_tokens: bool, parse_special: bool) -> list[int]:
        """Return the ids of `text`; special tokens in it are plain text unless `parse_special`."""
        spans = [match.span() for match in self._pattern.finditer(text)] if parse_special else []
        return self.encode_marked(text, spans) + ([self._end] if add_special_tokens else [])

    def encode_marked(self, text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
        """Return the ids of `text` with special tokens at exactly the character ranges `spans`, in their order."""
        ids, end = list[int](), 0
        if language := _LANGUAGE.match(text):
            ids, end = [self._ids.get(language[0], self._unknown)], language.end()
        for first, last in spans:
            ids += [*self._segment(text[end:first]), self._special[text[first:last]]]
            end = last
        return ids + self._segment(text[end:])

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Return the text of `ids`; ids without a token have none."""
        texts, pieces = list[str](), list[str]()
        for token in ids:
            piece = self._pieces.get(token)
            if piece is None:
                continue
            if piece not in self._special:
                pieces.append(piece)
            elif not skip_special_tokens:
                texts += [self._join(pieces), piece + " "]
                pieces = []
        return "".join([*texts, self._join(pieces)]).lstrip(" ")

    def _segment(self, text: str) -> list[int]:
        pieces = self._source.encoding(text, add_special_tokens=False, parse_special=False).tokens if text else []
        return [self._ids.get(piece, self._unknown) for piece in pieces]


def _read_table(content: bytes) -> dict[str, int]:
    """Return the ids by piece; raise PlanError for any other JSON."""
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PlanError(f"tokenizer/{TABLE} is not JSON: {error}; build the plan again") from None
    if not isinstance(table, dict) or not table:
        raise PlanError(f"tokenizer/{TABLE}: expected an object of ids by piece; build the plan again")
    owners: dict[int, str] = {}
    for piece, token in table.items():
        if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < 1 << 32:
            raise PlanError(
                f"tokenizer/{TABLE}: {piece!r:.100}: expected an id from 0 to 2^32 - 1, got {token!r:.100}; correct "
                "the checkpoint's files and build the plan again"
            )
        if owners.setdefault(token, piece) != piece:
            raise PlanError(
                f"tokenizer/{TABLE}: id {token} is that of {owners[token]!r:.100} and of {piece!r:.100}; correct the "
                "checkpoint's files and build the plan again"
            )
    return table
