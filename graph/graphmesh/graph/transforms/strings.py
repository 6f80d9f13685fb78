"""BYTES tensors as text, and text as BYTES tensors, within the bytes that a request may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphmesh.core.errors import InvalidRequest
from graphmesh.graph.limits import MAX_BYTES_IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from graphmesh.core.tensor import Tensor

__all__ = ["check_bytes", "decoded", "encoded", "from_elements"]

_ELEMENT = 48
"""Bytes that an element takes beside its text."""


def check_bytes(count: int) -> None:
    """Raise InvalidRequest when a result takes more bytes than a request may hold."""
    if count > MAX_BYTES_IN_FLIGHT:
        raise InvalidRequest(f"its result would take {count} bytes, a request holds at most {MAX_BYTES_IN_FLIGHT}")


def decoded(array: Tensor) -> list[str]:
    """Return the texts of a tensor, row by row; raise InvalidRequest for an element that is no UTF-8."""
    texts: list[str] = []
    for position, element in enumerate(array.flat):
        try:
            texts.append(element if isinstance(element, str) else bytes(element).decode())
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"element {position} must be UTF-8 text, got other bytes") from error
    return texts


def encoded(texts: Iterable[str], shape: Sequence[int]) -> Tensor:
    """Return a tensor of texts, row by row; raise InvalidRequest when they take too many bytes together."""
    elements: list[bytes] = []
    total = 0
    for text in texts:
        elements.append(text.encode())
        total += len(elements[-1]) + _ELEMENT
        check_bytes(total)
    return from_elements(elements, shape)


def from_elements(elements: Sequence[bytes], shape: Sequence[int]) -> Tensor:
    """Return a BYTES tensor of elements, row by row."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)
