"""What the parser of expressions says, in plain words: what is out of place, and what is written here instead."""

from __future__ import annotations

import re

__all__ = ["WORDS", "place", "syntax"]

_LOOKS = "an expression looks like `inputs.lang == 'en' && size(inputs.text) > 100`"
_UNEXPECTED = re.compile(r"(?:mismatched|extraneous) input '(.*)' expecting (.*)")
_NO_TOKEN = re.compile(r"token recognition error at: '(.*)'")
_MISSING = re.compile(r"missing '(.*)' at '(.*)'")
_NOT = re.compile(r"\bnot\s+$")

WORDS = {
    "and": "write `&&` for and",
    "or": "write `||` for or",
    "not": "write `!` for not, as `!inputs.flag` or `!('a' in inputs.words)`",
    "is": "write `==` to compare",
    "=": "write `==` to compare",
    "&": "write `&&` for and",
    "|": "write `||` for or",
    "<>": "write `!=` for unequal",
    "#": "a comment begins with `//`",
}
"""Operators of other languages, and what is written here."""


def place(text: str, line: str, column: int) -> int:
    """Return the column of the word that is wrong: of a `not`, the parser only stumbles over what follows.

    Args:
        text: What the parser says.
        line: That which it says it of.
        column: From 1.
    """
    word = _NOT.search(line[: column - 1])
    return word.start() + 1 if word and _UNEXPECTED.fullmatch(text) else column


def syntax(text: str, line: str, column: int) -> str:
    """Return what is wrong and what to do, for what the parser says of a line at the column that `place` returned."""
    unexpected, token, missing = _UNEXPECTED.fullmatch(text), _NO_TOKEN.fullmatch(text), _MISSING.fullmatch(text)
    if unexpected and re.match(r"not\s", line[column - 1 :]):
        return f"`not` is no operator: {WORDS['not']}"
    if missing:
        return f"here a `{missing[1]}` is missing; {_LOOKS}"
    if token:
        return _no_token(token[1].strip())
    if unexpected:
        return _out_of_place(unexpected[1], at_end=unexpected[2].startswith("<EOF>"))
    return f"here a name, number or text is missing; {_LOOKS}" if text.startswith("no viable alternative") else text


def _out_of_place(found: str, *, at_end: bool) -> str:
    """Return what is wrong with a word where the end must be, or where a value must be."""
    if found in WORDS:
        return f"`{found}` is no operator: {WORDS[found]}"
    if found == "<EOF>":
        return f"it ends where a value must follow, as a name, number or text; {_LOOKS}"
    if at_end:
        return f"`{found}` must not follow here: an operator as `&&` or `==` is missing; {_LOOKS}"
    return f"`{found}` stands where a value must be, as a name, number or text; {_LOOKS}"


def _no_token(token: str) -> str:
    first = token[:1] or " "
    if token in WORDS:
        return f"`{token}` is no operator: {WORDS[token]}"
    if first in {"'", '"'}:
        return f"the text that begins here does not end; close it with {first}"
    if first in "\u2018\u2019\u201c\u201d\u201e":
        return "text is written in straight quotes, as 'en'"
    return f"`{token[:40]}` means nothing here; {_LOOKS}"
