"""The few HTTP calls that commands make, over the standard library."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "get", "post"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    """The status; 0 if nothing answered."""
    body: bytes
    """The body; why nothing answered, if nothing did."""


def get(url: str, *, timeout_s: float = 5.0) -> Answer:
    """Return the answer to a GET; status 0 if the server cannot be reached."""
    return _open(urllib.request.Request(url), timeout_s)  # noqa: S310 - callers give http addresses of a mesh


def post(url: str, body: bytes, *, headers: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> Answer:
    """Return the answer to a POST of JSON; status 0 if the server cannot be reached."""
    all_headers = {"content-type": "application/json", **(headers or {})}
    return _open(urllib.request.Request(url, body, all_headers), timeout_s)  # noqa: S310 - as above


def _open(request: urllib.request.Request, timeout_s: float) -> Answer:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a mesh is never behind the user's proxy
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())
    except (OSError, http.client.HTTPException) as error:  # the second: no HTTP at all, or no port in the address
        return Answer(0, str(getattr(error, "reason", error)).encode())
