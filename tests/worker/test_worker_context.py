"""What a model may say beside its outputs."""

from __future__ import annotations

import pytest

from graphmesh.worker.hosting.context import Context


@pytest.mark.parametrize("name", ["x-story", "etag", "x.y_z-1", "binary", "inference", "proxy"])
def test_headers(name: str) -> None:
    """Names that both HTTP and gRPC take are set."""
    context = Context()
    context.set_header(name, "a b;c")
    assert context.response_headers == {name: "a b;c"}


@pytest.mark.parametrize(
    "name",
    [
        *("", "X-Story", "x!a", "x'a", "x|a", "x a", "x:a", "x\n", "x" * 129),
        *("x-bin", "-bin", "grpc-status", "content-length", "x-envoy-a", "x-graphmesh-a", "connection", "host"),
        *("inference-header-content-length", "proxy-authenticate", "proxy-connection"),
    ],
)
def test_headers_that_cannot_be(name: str) -> None:
    """Names that gRPC refuses, or that mean something to who is between model and caller, are refused at once."""
    with pytest.raises(ValueError, match=r"a response header's name must be of a-z0-9._- and not reserved"):
        Context().set_header(name, "a")


@pytest.mark.parametrize("value", ["\n", "\x7f", "\u00e9", "x" * 4097])
def test_values_that_cannot_be(value: str) -> None:
    """A value is printable ASCII, and short."""
    with pytest.raises(ValueError, match="the value of 'x-a' must be"):
        Context().set_header("x-a", value)
