"""Models of requests whose callers leave, and a ledger of what was begun for them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Annotated, ClassVar, TypedDict

import numpy as np

from graphmesh.core.errors import Unavailable
from graphmesh.worker import Context, batched

__all__ = ["INNER", "Batch", "Flaky", "Hold", "Ledger", "Step"]

INNER = """
    name: inner
    inputs: [x]
    nodes:
      one: {model: step, inputs: {x: x}}
      two: {model: batch, inputs: {x: one.y}}
    outputs: {y: two.y}
"""
"""A graph of two of them."""

Vector = Annotated[np.ndarray, "FP32 (N,)"]


class Out(TypedDict):
    """The only output."""

    y: Vector


class Ledger:
    """Which requests have left, and what was begun for them."""

    left: ClassVar[set[str]] = set()
    begun = 0
    late: ClassVar[list[str]] = []
    running = 0
    stages: ClassVar[Counter[str]] = Counter()
    """How far each request is: how many computes were begun for it, and whatever else a test counts."""

    @classmethod
    def open(cls) -> None:
        """Begin a new one."""
        cls.left, cls.late, cls.begun, cls.running = set(), [], 0, 0
        cls.stages = Counter()
        Hold.gate.clear()

    @classmethod
    def begin(cls, *requests: str) -> None:
        """Note that computing begins."""
        cls.begun += len(requests)
        cls.late += [request for request in requests if request in cls.left]
        cls.stages.update(request.partition("#")[0] for request in requests)


class Step:
    """On the event loop, in a few turns."""

    async def predict(self, x: Vector, context: Context) -> Out:
        """Return x."""
        Ledger.begin(context.request_id)
        Ledger.running += 1
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            Ledger.running -= 1
        return {"y": x}


class Flaky(Step):
    """Fails."""

    async def predict(self, x: Vector, context: Context) -> Out:
        """Raise."""
        await super().predict(x, context)
        raise Unavailable("on purpose")


class Batch:
    """In batches, on the event loop."""

    @batched(max_batch_size=4)
    async def predict(self, x: Vector, contexts: list[Context]) -> Out:
        """Return x."""
        Ledger.begin(*(context.request_id for context in contexts))
        await asyncio.sleep(0)
        return {"y": x}


class Hold:
    """On the only thread, until it is let go."""

    gate = threading.Event()

    def predict(self, x: Vector, context: Context) -> Out:
        """Wait for the gate."""
        Ledger.begin(context.request_id)
        self.gate.wait(30)
        return {"y": x}
