"""Models in REST paths."""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["model_of"]

_PREDICT = re.compile(r"/v1/models/([^/]*?)(?:/versions/([^/]*?))?:predict(?:Stream)?")
_OIP = re.compile(r"/v2/models/([^/]*)(?:/versions/([^/]*))?(?:/.*)?")


def model_of(path: str) -> tuple[str, str] | None:
    """Return the model and version that a REST path names, unchecked; None for a path that names none."""
    match = _PREDICT.fullmatch(path) or _OIP.fullmatch(path)
    return None if match is None else (unquote(match[1]), unquote(match[2] or ""))
