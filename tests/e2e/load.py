"""Open-loop load: requests leave at a fixed rate whatever the answers do, and every outcome is kept."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Self

import grpc
import numpy as np

from graphmesh.oip import open_inference_pb2 as oip
from graphmesh.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended."""

    sent: float
    """When it was sent, monotonic seconds."""
    ended: float
    """When it ended."""
    status: str
    """`OK`, or gRPC's code with the message."""
    pid: int
    """The worker's process; 0 if it failed."""


@dataclass(slots=True)
class Load:
    """Calls a model that answers like `models.Slow`, at a fixed rate; use it as an async context manager."""

    address: str
    model: str
    rate: float
    outcomes: list[Outcome] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task

    def failed(self) -> list[Outcome]:
        """Return every outcome that is not OK."""
        return [outcome for outcome in self.outcomes if outcome.status != "OK"]

    def first_from(self, pid: int) -> float | None:
        """Return when the first answer of a process came."""
        return min((outcome.ended for outcome in self.outcomes if outcome.pid == pid), default=None)

    async def _run(self) -> None:
        # Client retries off: a failure must be seen.
        async with grpc.aio.insecure_channel(self.address, options=[("grpc.enable_retries", 0)]) as channel:
            stub, began, count = GRPCInferenceServiceStub(channel), time.monotonic(), 0
            async with asyncio.TaskGroup() as group:
                while not self._stop.is_set():
                    group.create_task(self._call(stub))
                    count += 1
                    await asyncio.sleep(max(0.0, began + count / self.rate - time.monotonic()))

    async def _call(self, stub: GRPCInferenceServiceStub) -> None:
        sent = time.monotonic()
        request = oip.ModelInferRequest(model_name=self.model)
        request.inputs.add(name="x", datatype="FP32", shape=[4])
        request.raw_input_contents.append(np.arange(4, dtype=np.float32).tobytes())
        status, pid = "OK", 0
        try:
            answer = await stub.ModelInfer(request, timeout=10)
            pid = int(np.frombuffer(answer.raw_output_contents[1], np.int64)[0])
        except grpc.aio.AioRpcError as error:
            status = f"{error.code().name} {error.details()}"
        self.outcomes.append(Outcome(sent, time.monotonic(), status, pid))
