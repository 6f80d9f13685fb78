"""What the registry's tests share: a clock they own, records to register, stores to run against."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.registry import HostedModel, MemoryKV, ModelState, WorkerRecord, WorkerState, connect
from graphmesh.v1 import graph_pb2

if TYPE_CHECKING:
    from graphmesh.registry import KV

__all__ = ["SIGNATURE", "FakeClock", "Store", "document", "signature", "worker"]


class FakeClock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Return seconds since the clock was made."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once the test has advanced the clock far enough."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wakened = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), wakened))
        await wakened

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking sleepers in order and letting each do what it does."""
        end = self._now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, wakened = heapq.heappop(self._sleepers)
            self._now = max(self._now, at)
            if not wakened.done():
                wakened.set_result(None)
                await self.settle()
        self._now = end
        await self.settle()

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        for _ in range(40):
            await asyncio.sleep(0)


def signature(name: str = "x") -> Signature:
    """Return a signature that differs by its input's name."""
    return Signature(
        inputs=(TensorSpec(name=name, datatype="FP32", shape=("N", 3)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=("N",)),),
    )


SIGNATURE = signature()


def worker(
    worker_id: str = "w1", *models: str, state: WorkerState = WorkerState.READY, port: int = 7001
) -> WorkerRecord:
    """Return a record; ``models`` are hosted as version 1, available, with `SIGNATURE`."""
    hosted = tuple(
        HostedModel(
            name=name, version="1", state=ModelState.AVAILABLE, signature_digest=SIGNATURE.digest, load_id=f"{name}-1"
        )
        for name in models or ("m",)
    )
    return WorkerRecord(
        worker_id=worker_id, host="127.0.0.1", http_port=port, grpc_port=port + 1, state=state, models=hosted
    )


def document(name: str, description: str = "") -> bytes:
    """Return a graph's document."""
    return graph_pb2.Graph(name=name, description=description).SerializeToString()


@dataclass
class Store:
    """One binding of the contract suite."""

    name: str
    """For the test's id."""
    ttl_s: float
    """The shortest lease it grants."""
    kv: KV
    """A client of it."""
    endpoint: str = ""
    """Where it listens; empty for the fake."""

    @classmethod
    def in_memory(cls) -> Store:
        """Return the fake, in real time."""
        return cls(name="memory", ttl_s=0.3, kv=MemoryKV())

    @classmethod
    def of(cls, name: str, endpoint: str) -> Store:
        """Return a real etcd; its shortest lease is 1.5 election timeouts, rounded up."""
        return cls(name=name, ttl_s=2.0, kv=connect([endpoint]), endpoint=endpoint)

    async def compact(self) -> None:
        """Forget all history."""
        if isinstance(self.kv, MemoryKV):
            self.kv.compact()
            return
        revision = (await self.kv.get(["none"])).revision
        async with grpc.aio.insecure_channel(self.endpoint) as channel:
            await rpc_pb2_grpc.KVStub(channel).Compact(rpc.CompactionRequest(revision=revision, physical=True))
