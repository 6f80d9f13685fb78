"""Names: which pass, and which known ones come close."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphmesh.core.errors import InvalidRequest
from graphmesh.core.names import (
    check_model_name,
    check_node_name,
    check_tensor_name,
    check_version,
    close_names,
    new_id,
)


@pytest.mark.parametrize("name", ["ocr", "a", "9lives", "resnet-50_v1.5", "a" * 128])
def test_good_model_names(name: str) -> None:
    """Lower-case letters, digits, dot, underscore and dash pass."""
    assert check_model_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a/b", "-a", "a\r\nb", "a\n", "..", "a" * 129, "é", "a%2fb", "a b"])
def test_hostile_model_names(name: str) -> None:
    """Anything that could leave its etcd key, header or path is refused."""
    with pytest.raises(InvalidRequest, match="must match"):
        check_model_name(name)


@given(st.text())
def test_names_that_pass_are_safe(name: str) -> None:
    """No name that passes contains a separator, a control character or a non-ASCII one."""
    for check in (check_model_name, check_node_name, check_version):
        try:
            check(name)
        except InvalidRequest:
            continue
        assert name.isascii()
        assert not set(name) & set("/\\%\r\n\0 ")


def test_other_names() -> None:
    """Nodes have no dots, tensors may have upper case and slashes, versions are digits."""
    assert check_tensor_name("Conv_0/out:0") == "Conv_0/out:0"
    for check, bad in ((check_node_name, "a.b"), (check_tensor_name, "0x"), (check_version, "1.2")):
        with pytest.raises(InvalidRequest):
            check(bad)


def test_close_names() -> None:
    """A misspelt name finds what was meant, closest first."""
    assert close_names("resnt", ["bert", "resnet", "resnet-v2"])[0] == "resnet"
    assert close_names("zzz", ["bert"]) == []


def test_ids_differ() -> None:
    """Made-up ids are valid names and differ."""
    first, second = new_id("worker"), new_id("worker")
    assert first != second
    assert check_model_name(first) == first
