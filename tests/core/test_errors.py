"""The error tree: every class has its place, every code its HTTP status."""

from __future__ import annotations

import grpc
import pytest

from graphmesh.core import errors
from graphmesh.core.errors import Code, GraphmeshError, from_code


def _classes() -> list[type[GraphmeshError]]:
    found = [getattr(errors, name) for name in errors.__all__]
    return [c for c in found if isinstance(c, type) and issubclass(c, GraphmeshError)]


def test_every_class_is_in_the_printed_tree_with_its_code() -> None:
    """The module's own picture of the tree names each class and the code it declares."""
    lines = (errors.__doc__ or "").splitlines()
    for error in _classes():
        line = next((line for line in lines if f" {error.__name__} " in f"{line} "), None)
        assert line is not None, f"{error.__name__} must be in the tree"
        assert error is GraphmeshError or error.code.name in line


def test_codes_are_grpcs() -> None:
    """Our codes are gRPC's, by name and number."""
    assert {c.name: c.value for c in Code} == {c.name: c.value[0] for c in grpc.StatusCode}


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_an_http_status(code: Code) -> None:
    """No code lacks an HTTP status."""
    assert 200 <= code.http_status < 600


@pytest.mark.parametrize("code", [c for c in Code if c is not Code.OK])
def test_errors_come_back_from_their_code(code: Code) -> None:
    """An error received over the wire keeps its code and message."""
    error = from_code(code, "why")
    assert (error.code, error.message) == (code, "why")


def test_receiving_a_code_changes_no_class() -> None:
    """The code of one received error is its own, not its class's."""
    from_code(99, "?")
    assert GraphmeshError.code is Code.INTERNAL


def test_reasons_are_stable_names() -> None:
    """Reasons look as google.rpc.ErrorInfo wants them."""
    for error in _classes():
        assert error.reason.isupper()
        assert len(error.reason) <= 63


def test_other_words_for_the_same_error() -> None:
    """Class, pause and metadata stay, the first one is the cause and is left as it was."""
    first = errors.Overloaded("too much", metadata={"model": "m"})
    first.retry_after_s = 2.0
    second = first.reworded("node a: too much")
    assert (type(second), second.message, str(second)) == (errors.Overloaded, "node a: too much", "node a: too much")
    assert (second.retry_after_s, second.metadata, second.__cause__) == (2.0, {"model": "m"}, first)
    second.metadata["model"] = "n"
    assert (first.message, first.metadata) == ("too much", {"model": "m"})
