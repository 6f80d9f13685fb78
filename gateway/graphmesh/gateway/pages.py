"""Pages of a list that is sorted by name; the token is opaque to clients and holds the last name shown."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from graphmesh.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["page"]

_DEFAULT = 100
_MOST = 1000


def page(names: Iterable[str], *, size: int, token: str) -> tuple[list[str], str]:
    """Return the names of one page and the token of the next; an empty token for the last page.

    Args:
        names: All names.
        size: Most names of the page; 0 means 100, more than 1000 is taken as 1000.
        token: The token that the page before gave; empty for the first page.

    Raises:
        InvalidRequest: a negative size, or a token that no page gave (INVALID_ARGUMENT, retry: no).
    """
    if size < 0:
        raise InvalidRequest(f"page_size must not be negative, got {size}")
    size = min(size or _DEFAULT, _MOST)
    after = _decoded(token)
    rest = sorted(name for name in names if name > after)
    more = len(rest) > size
    return rest[:size], _encoded(rest[size - 1]) if more else ""


def _encoded(name: str) -> str:
    return base64.urlsafe_b64encode(b"after:" + name.encode()).decode()


def _decoded(token: str) -> str:
    if not token:
        return ""
    try:
        text = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        text = ""
    if not text.startswith("after:"):
        raise InvalidRequest(f"page_token must be one that the page before gave, got {token[:80]!r}")
    return text.removeprefix("after:")
