"""How wide text is without any font at hand: an estimate on the wide side, so that text never leaves its box.

The widths are those of DejaVu Sans, the widest of the fonts that `system-ui` stands for, rounded up by class.
"""

from __future__ import annotations

import unicodedata

__all__ = ["shorten", "text_width", "wrap"]

_NARROW = frozenset("ijl.,:;'|!()[]{}/\\ tfr-I")
_BROAD = frozenset("mwMW@%&—…")
_MONO = 0.62


def text_width(text: str, size: float, *, mono: bool = False) -> float:
    """Return the width in pixels that ``text`` takes at most, at a font size in pixels."""
    return size * sum(_em(character, mono=mono) for character in text)


def _em(character: str, *, mono: bool) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.3 if mono else 1.05
    if mono:
        return _MONO
    if character in _NARROW:
        return 0.42
    return 1.0 if character in _BROAD else 0.74 if character.isupper() else 0.64


def shorten(text: str, size: float, width: float, *, mono: bool = False) -> str:
    """Return ``text``, cut with an ellipsis if it is wider than ``width`` pixels."""
    if text_width(text, size, mono=mono) <= width:
        return text
    left = width - text_width("…", size, mono=mono)
    kept = 0
    for character in text:
        left -= size * _em(character, mono=mono)
        if left < 0:
            break
        kept += 1
    return f"{text[:kept].rstrip()}…"


def wrap(text: str, size: float, width: float, *, lines: int) -> list[str]:
    """Return ``text`` in at most so many lines, broken between words; the last is cut with an ellipsis if need be."""
    result: list[str] = []
    words = text.split()
    while words:
        taken = 1
        while taken < len(words) and text_width(" ".join(words[: taken + 1]), size) <= width:
            taken += 1
        if len(result) == lines - 1:
            taken = len(words)
        result.append(shorten(" ".join(words[:taken]), size, width))
        words = words[taken:]
    return result
