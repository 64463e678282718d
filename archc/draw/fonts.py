"""Widths of text, estimated from above: no viewer's sans-serif font in common use is wider than this table."""

from __future__ import annotations

from collections.abc import Iterator

# Hundredths of an em for the characters from space to tilde, those of a wide font (DejaVu Sans).
_ASCII = (
    *(32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34),
    *(64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84, 84, 84, 54),
    *(100, 69, 69, 70, 77, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79),
    *(61, 79, 70, 64, 62, 74, 69, 99, 69, 62, 69, 40, 34, 40, 84, 50),
    *(50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58, 28, 98, 64, 62),
    *(64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84),
)
_OTHERS = {"·": 32, "–": 50, "²": 41, "θ": 62, "β": 64, "ε": 55, "Δ": 69, "√": 64, "±": 84, "×": 84, "→": 84, "⊙": 84}
_WIDEST = 105
_DOT = " · "
_BOLD = 1.12

ASCENT, DESCENT = 0.78, 0.24
"""Extent of a line above and below its baseline, in em."""


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return an upper bound of the width of text in a font of `size` pixels."""
    hundredths = sum(_width(character) for character in text)
    return hundredths * size / 100 * (_BOLD if bold else 1.0)


def wrap(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """Return text in lines of at most `width` pixels, broken at spaces, and inside of words that are too long."""
    lines: list[str] = []
    line = ""
    for word in _pieces(text, width, size, bold):
        joined = f"{line} {word}" if line else word
        if line and text_width(joined, size, bold) > width:
            lines.append(line)
            line = word
        else:
            line = joined
    return [*lines, line] if line else lines


def wrap_parts(text: str, width: float, size: float) -> list[str]:
    """Return text in lines, broken between parts with a middle dot, and inside of a part that is too long."""
    lines: list[str] = []
    for part in text.split(_DOT):
        if lines and text_width(f"{lines[-1]}{_DOT}{part}", size) <= width:
            lines[-1] += f"{_DOT}{part}"
        else:
            lines += wrap(part, width, size)
    return lines


def shortened(text: str, width: float, size: float, bold: bool = False) -> str:
    """Return text cut to `width` pixels, with an ellipsis if it is longer."""
    if text_width(text, size, bold) <= width:
        return text
    while text and text_width(f"{text}…", size, bold) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _pieces(text: str, width: float, size: float, bold: bool) -> Iterator[str]:
    for word in text.split():
        piece = ""
        for character in word:
            if piece and text_width(piece + character, size, bold) > width:
                yield piece
                piece = ""
            piece += character
        yield piece


def _width(character: str) -> int:
    code = ord(character)
    return _ASCII[code - 32] if 32 <= code < 127 else _OTHERS.get(character, _WIDEST)
