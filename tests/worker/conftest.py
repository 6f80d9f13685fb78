"""A worker in this process, on an in-memory registry, and a small HTTP client."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import orjson
import pytest
import pytest_asyncio

from graphmesh.registry import GatewayRecord, MemoryKV, Registry
from graphmesh.worker import ModelConfig, WorkerConfig
from graphmesh.worker.backends.python import _import_file
from graphmesh.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from types import ModuleType

TOYS = Path(__file__).parent / "toys.py"


def toy(kind: str, /, **options: object) -> ModelConfig:
    """Return the configuration of a class of toys.py, named after it in lower case unless told otherwise."""
    kept = {"name": kind.lower(), "source": f"{TOYS}:{kind}", **options}
    return ModelConfig(**kept)  # type: ignore[arg-type]


class MakeToy(Protocol):
    """The `toy` function, for tests."""

    def __call__(self, kind: str, /, **options: object) -> ModelConfig:
        """Return a configuration."""
        ...


@pytest.fixture(name="toy", scope="session")
def toy_fixture() -> MakeToy:
    """The `toy` function."""
    return toy


ALL_TOYS = (
    toy("Add"),
    toy("Add", version="2", parameters={"amount": 2.0}),
    toy("AddSync"),
    toy("Upper"),
    toy("Words"),
    toy("Reverse"),
    toy("Describe"),
    toy("Sleep"),
    toy("Block"),
    toy("Broken"),
    toy("Exits"),
    toy("Raises"),
    toy("WrongOutput", name="wrong-output"),
    toy("Fill"),
    toy("Unloadable"),
    toy("Count"),
    toy("CountAsync", name="count-async"),
    toy("Blocks"),
    toy("Tokens"),
    toy("Drifts"),
    toy("Echo"),
    toy("Sluggish"),
    toy("Together"),
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def registry() -> AsyncIterator[Registry]:
    """A registry in memory."""
    async with Registry(MemoryKV()) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(registry: Registry) -> AsyncIterator[Worker]:
    """A worker with all toys, ready."""
    config = WorkerConfig(worker_id="w1", models=ALL_TOYS, max_message_bytes=1 << 20)
    async with Worker(config, registry) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def other(registry: Registry) -> AsyncIterator[Worker]:
    """A second worker, registered as the gateway too: what the first one lacks, it calls there."""
    models = (
        toy("Add", name="far"),
        toy("Raises", name="far-raises"),
        toy("Sleep", name="far-sleep"),
        toy("Count", name="far-count"),
    )
    async with Worker(WorkerConfig(worker_id="w2", models=models), registry) as running:
        gateway = GatewayRecord(gateway_id="g1", host="127.0.0.1", port=running.grpc_port)
        async with await registry.register_gateway(gateway):
            yield running


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        """The body, parsed."""
        value = orjson.loads(self.body)
        assert isinstance(value, dict)
        return value


@pytest.fixture(name="http", scope="session")
def http_fixture() -> Callable[..., Awaitable[Reply]]:
    """The `http` function."""
    return http


async def http(
    port: int, path: str, body: bytes | None = None, *, headers: Mapping[str, str] | None = None, method: str = ""
) -> Reply:
    """Make one HTTP/1.1 request over a connection of its own: POST if there is a body, else GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1", "host: test", "connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [] if body is None else [f"content-length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        head = await reader.readuntil(b"\r\n\r\n")
        status, *rest = head.decode("latin-1").split("\r\n")
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest if line)}
        return Reply(int(status.split()[1]), found, await reader.read())
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """The module that workers in this process loaded the toys from."""
    return _import_file(TOYS)
