"""Operations on text, element by element, with the meaning of Python's `str` methods of the same names.

Characters are Unicode code points. Lengths are added up before a text is made, so that none is made that is too long.
"""

from __future__ import annotations

import functools
import string
from typing import TYPE_CHECKING, Any

import numpy as np

from graphmesh.core.errors import InvalidGraph
from graphmesh.core.tensor import BYTES
from graphmesh.graph.transforms.operations import (
    Format,
    JoinText,
    Length,
    Lower,
    Replace,
    Strip,
    Truncate,
    Upper,
)
from graphmesh.graph.transforms.rules import Rule, made, need_equal_shapes, need_text
from graphmesh.graph.transforms.strings import check_bytes, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.checks.flows import Flow
    from graphmesh.graph.transforms.operations import What

__all__ = ["RULES", "bind_template"]


def _give_text(_: What, flows: Sequence[Flow]) -> list[Flow]:
    need_text(flows)
    return made(BYTES, need_equal_shapes(flows), text=True)


def _elementwise(change: Callable[[Any, str], str]) -> Rule:
    def run(what: What, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
        (array,) = arrays
        return [encoded((change(what, text) for text in decoded(array)), array.shape)]

    return Rule(_give_text, run)


def _strip(what: Strip, text: str) -> str:
    return text.strip(what.characters or None)


def _give_replace(what: Replace, flows: Sequence[Flow]) -> list[Flow]:
    if not what.old:
        raise InvalidGraph("`old` must not be empty")
    return _give_text(what, flows)


def _run_replace(what: Replace, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    (array,) = arrays
    texts = decoded(array)
    check_bytes(sum(len(text) + text.count(what.old) * (len(what.new) - len(what.old)) for text in texts))
    return [encoded((text.replace(what.old, what.new) for text in texts), array.shape)]


def _give_length(_: Length, flows: Sequence[Flow]) -> list[Flow]:
    need_text(flows)
    return made("INT64", flows[0].shape)


def _run_length(_: Length, arrays: Sequence[Tensor], __: object) -> list[Tensor]:
    (array,) = arrays
    return [np.array([len(text) for text in decoded(array)], dtype=np.int64).reshape(array.shape)]


def _give_truncate(what: Truncate, flows: Sequence[Flow]) -> list[Flow]:
    if what.length < 0:
        raise InvalidGraph(f"length must not be negative, got {what.length}")
    return _give_text(what, flows)


def _rows(arrays: Sequence[Tensor]) -> Iterator[tuple[str, ...]]:
    """Return the texts of all inputs at each place."""
    return zip(*map(decoded, arrays), strict=True)


def _run_join(what: JoinText, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    rows = list(_rows(arrays))
    check_bytes(sum(sum(map(len, row)) + len(what.separator) * (len(row) - 1) for row in rows))
    return [encoded(map(what.separator.join, rows), arrays[0].shape)]


def bind_template(what: Format, names: Sequence[str]) -> Format:
    """Return a template with places of inputs instead of their names, or raise InvalidGraph for one that is wrong."""
    parts: list[str] = []
    for literal, name, form, conversion in _parse(what.template):
        parts.append(literal.replace("{", "{{").replace("}", "}}"))
        if name is None:
            continue
        if form or conversion or name not in names:
            raise InvalidGraph(
                f"template names {name[:140]!r}, but there are the inputs {list(names)}; a brace is written twice"
            )
        parts.append(f"{{{names.index(name)}}}")
    return Format("".join(parts))


@functools.lru_cache
def _parse(template: str) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
    try:
        return tuple(string.Formatter().parse(template))
    except ValueError as error:
        raise InvalidGraph(f"template is malformed: {error}; a brace is written twice") from error


def _run_format(what: Format, arrays: Sequence[Tensor], _: object) -> list[Tensor]:
    pieces = [(literal, None if name is None else int(name)) for literal, name, *_ in _parse(what.template)]
    fixed = sum(len(literal) for literal, _ in pieces)
    used = [place for _, place in pieces if place is not None]
    rows = list(_rows(arrays))
    check_bytes(sum(fixed + sum(len(row[place]) for place in used) for row in rows))
    texts = (
        "".join(literal + ("" if place is None else row[place]) for literal, place in pieces) for row in rows
    )  # fmt: skip
    return [encoded(texts, arrays[0].shape)]


RULES: dict[type[What], Rule] = {
    Lower: _elementwise(lambda _, text: text.lower()),
    Upper: _elementwise(lambda _, text: text.upper()),
    Strip: _elementwise(_strip),
    Replace: Rule(_give_replace, _run_replace),
    Length: Rule(_give_length, _run_length),
    Truncate: Rule(_give_truncate, _elementwise(lambda what, text: text[: what.length]).run),
    JoinText: Rule(_give_text, _run_join, most=None),
    Format: Rule(_give_text, _run_format, most=None),
}
