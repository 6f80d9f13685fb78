"""The address that a process tells others."""

from __future__ import annotations

import pytest

from graphmesh.core.address import advertised_address
from graphmesh.core.errors import StartFailed

ETCD = ("127.0.0.1:2379",)


@pytest.mark.parametrize(
    ("bind", "advertise", "etcd", "address"),
    [
        ("0.0.0.0", "192.0.2.1", ("nowhere.invalid:2379",), "192.0.2.1"),  # noqa: S104 - never bound
        ("127.0.0.2", "", ("nowhere.invalid:2379",), "127.0.0.2"),
        ("::1", "", ("nowhere.invalid:2379",), "::1"),
        ("0.0.0.0", "", ETCD, "127.0.0.1"),  # noqa: S104 - never bound
        ("::", "", ETCD, "127.0.0.1"),
    ],
)
def test_advertised_address(bind: str, advertise: str, etcd: tuple[str, ...], address: str) -> None:
    """The given one, else the bound one, else for every address the one from which etcd is reached."""
    assert advertised_address(bind, advertise, etcd) == address


@pytest.mark.parametrize("etcd", ["nowhere.invalid:2379", "127.0.0.1:port", "127.0.0.1"])
def test_no_way_to_etcd(etcd: str) -> None:
    """Bound to every address and without a way to etcd, the start fails and says what to pass."""
    with pytest.raises(StartFailed, match=f"--advertise must be given: no way to etcd at '{etcd}'"):
        advertised_address("0.0.0.0", "", (etcd,))  # noqa: S104 - never bound
