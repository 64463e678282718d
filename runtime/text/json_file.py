"""Tokenizer engine of a tokenizer.json file, with the `tokenizers` library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from archc.runtime.errors import PlanError, PromptError
from archc.runtime.text.added_tokens import AddedToken, check_id

if TYPE_CHECKING:
    import tokenizers

_RARE = range(0x2A000, 0x2A6D0)  # unused ideographs; private-use characters may be tokens


class JsonTokenizer:
    """A tokenizer.json file, plus added tokens that other files name."""

    def __init__(self, definition: bytes, added: Sequence[AddedToken] = (), name: str = "tokenizer.json") -> None:
        import tokenizers

        self._lock = threading.Lock()  # encode_special_tokens is an attribute, not an argument of encode
        with rust_errors(PlanError, f"tokenizer/{name} is damaged", "build the plan again"):
            self._tokenizer: tokenizers.Tokenizer = tokenizers.Tokenizer.from_buffer(definition)
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            for token in added:
                self._add(token)
        self._aliases: dict[str, _Aliases] = {}  # by the character that marks them

    @property
    def vocab_size(self) -> int:
        """Return the number of ids."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def definition(self) -> str:
        """Return the content of a tokenizer.json with all added tokens."""
        return str(self._tokenizer.to_str())

    @cached_property
    def special(self) -> dict[str, int]:
        """Return the id of each special token by its text."""
        tokens = self._tokenizer.get_added_tokens_decoder().items()
        return {token.content: number for number, token in tokens if token.special}

    def encode(self, text: str, add_special_tokens: bool, parse_special: bool) -> list[int]:
        """Return the ids of `text`; special tokens in it are plain text unless `parse_special`."""
        return list(self.encoding(text, add_special_tokens, parse_special).ids)

    def encoding(
        self, text: str, add_special_tokens: bool, parse_special: bool, pair: str | None = None
    ) -> tokenizers.Encoding:
        """Return ids and pieces of `text`, or of a pair of texts by the tokenizer's template for pairs."""
        with self._lock, rust_errors(PromptError, "the tokenizer cannot encode the text", "change the prompt"):
            self._tokenizer.encode_special_tokens = not parse_special
            return self._tokenizer.encode(text, pair, add_special_tokens=add_special_tokens)

    def encode_marked(self, text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
        """Return the ids of `text` with special tokens at exactly the character ranges `spans`, in their order."""
        mark = next(chr(code) for code in _RARE if chr(code) not in text)
        with self._lock, rust_errors(PromptError, "the tokenizer cannot encode the text", "change the prompt"):
            if mark not in self._aliases:
                self._aliases[mark] = _Aliases(self._tokenizer, self.special, mark)
            return self._aliases[mark].encode(text, spans)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Return the text of `ids`; ids without a token have none."""
        with rust_errors(PromptError, "the tokenizer cannot decode the ids", "check their values"):
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    @property
    def join(self) -> Callable[[Sequence[str]], str]:
        """Return the function from pieces to text."""
        decoder = self._tokenizer.decoder
        return (lambda pieces: str(decoder.decode(list(pieces)))) if decoder is not None else "".join

    def _add(self, token: AddedToken) -> None:
        """Add a token, or set the flags of one that is in the file."""
        import tokenizers

        number = self._tokenizer.token_to_id(token.text)
        known = None if number is None else self._tokenizer.get_added_tokens_decoder().get(number)
        names = ("lstrip", "rstrip", "single_word", "normalized")
        flags_of = token if known is None or token.explicit else known
        flags = {name: bool(getattr(flags_of, name)) for name in names}
        flags["special"] = token.special or (known is not None and not token.explicit and known.special)
        self._tokenizer.add_tokens([tokenizers.AddedToken(token.text, **flags)])
        check_id(token, self._tokenizer.token_to_id(token.text))


class _Aliases:
    """A copy of a tokenizer in which each special token has another text, so that its own text is plain text.

    The copy sees the whole text, so that spaces and prefixes around special tokens are those of the original.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, special: Mapping[str, int], mark: str) -> None:
        import tokenizers

        self._copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        self._copy.encode_special_tokens = True
        known = tokenizer.get_added_tokens_decoder()
        self._texts = {text: f"{mark}{index}{mark}" for index, text in enumerate(special)}
        self._copy.add_tokens(
            [
                tokenizers.AddedToken(
                    self._texts[text],
                    single_word=known[number].single_word,
                    lstrip=known[number].lstrip,
                    rstrip=known[number].rstrip,
                    normalized=False,
                    special=False,  # the copy does not parse special ones
                )
                for text, number in special.items()
            ]
        )
        self._ids = {self._copy.token_to_id(self._texts[text]): number for text, number in special.items()}

    def encode(self, text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
        """Return the ids of `text` with special tokens at `spans`."""
        parts, end = list[str](), 0
        for first, last in spans:
            parts += [text[end:first], self._texts[text[first:last]]]
            end = last
        ids = self._copy.encode("".join([*parts, text[end:]]), add_special_tokens=False).ids
        return [self._ids.get(number, number) for number in ids]


@contextmanager
def rust_errors(error_type: type[PlanError | PromptError], problem: str, remedy: str) -> Iterator[None]:
    """Raise an error of archc for an error of the tokenizers library: an Exception, or a panic, which is none."""
    try:
        yield
    except (PlanError, PromptError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise error_type(f"{problem}: {str(error)[:300]}; {remedy}") from None
