"""The few HTTP calls that commands make, over the standard library."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphmesh.core.errors import Code, ModelNotReady, from_code

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphmesh.core.errors import GraphmeshError

__all__ = ["Answer", "get", "post", "post_lines", "refusal"]


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


def post_lines(url: str, body: bytes, *, headers: Mapping[str, str], timeout_s: float) -> Iterator[Answer]:
    """Yield each line of the answer to a POST of JSON as it arrives; an answer that is no good is one, whole.

    Closing the generator hangs up.
    """
    all_headers = {"content-type": "application/json", "accept": "application/x-ndjson", **headers}
    try:
        with _opened(urllib.request.Request(url, body, all_headers), timeout_s) as answer:  # noqa: S310 - as above
            for line in answer:
                yield Answer(answer.status, line)
    except urllib.error.HTTPError as error:
        with error:
            yield Answer(error.code, error.read())
    except (OSError, http.client.HTTPException) as error:
        yield _nothing(error)


def refusal(code: int, message: str) -> GraphmeshError:
    """Return the error that a mesh answered with, in the words of this command.

    A mesh that says UNAVAILABLE was reached: that is a model that is not ready, not a mesh that is not there.
    """
    message = message.replace("GET /v1/models", "graphmesh models")
    return ModelNotReady(message) if code == Code.UNAVAILABLE else from_code(code, message)


def _opened(request: urllib.request.Request, timeout_s: float) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a mesh is never behind the user's proxy
    answer: http.client.HTTPResponse = opener.open(request, timeout=timeout_s)
    return answer


def _open(request: urllib.request.Request, timeout_s: float) -> Answer:
    try:
        with _opened(request, timeout_s) as answer:
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())
    except (OSError, http.client.HTTPException) as error:  # the second: no HTTP at all, or no port in the address
        return _nothing(error)


def _nothing(error: Exception) -> Answer:
    return Answer(0, str(getattr(error, "reason", error)).encode())
