"""Pages of sorted lists."""

from __future__ import annotations

import pytest

from graphmesh.core.errors import InvalidRequest
from graphmesh.gateway.pages import page


def test_every_name_is_on_one_page() -> None:
    """Following the tokens gives every name once, in order."""
    names, token = [], ""
    while True:
        shown, token = page((f"m{index:03}" for index in reversed(range(25))), size=10, token=token)
        names += shown
        if not token:
            break
    assert names == [f"m{index:03}" for index in range(25)]


def test_sizes() -> None:
    """0 is 100, more than 1000 is 1000, negative is refused; a full last page has no successor."""
    names = [f"m{index:04}" for index in range(1500)]
    assert len(page(names, size=0, token="")[0]) == 100
    assert len(page(names, size=9999, token="")[0]) == 1000
    assert page(names[:10], size=10, token="")[1] == ""
    with pytest.raises(InvalidRequest, match="page_size"):
        page(names, size=-1, token="")


@pytest.mark.parametrize("token", ["nonsense", "YWJj", "ÿ", "after:m1"])
def test_strange_tokens_are_refused(token: str) -> None:
    """Only a token that a page gave is taken."""
    with pytest.raises(InvalidRequest, match="page_token"):
        page(["a"], size=1, token=token)
