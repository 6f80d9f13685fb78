"""Models for the tests of batching: what they saw is kept by name, and by name they are held until a test is ready."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Annotated, TypedDict

import numpy as np

from graphmesh.core.errors import InvalidRequest
from graphmesh.worker import Context, batched

if TYPE_CHECKING:
    from collections.abc import Iterator

Rows = Annotated[np.ndarray, "FP32 (N,)"]
Tokens = Annotated[np.ndarray, "INT64 (N, T)"]

SEEN: dict[str, list[list[float]]] = {}
_GATES: dict[str, threading.Event] = {}


def _gate(name: str) -> threading.Event:
    """Return what a model of this name waits for before it answers: open, unless a test holds it."""
    if name not in _GATES:
        _GATES[name] = threading.Event()
        _GATES[name].set()
    return _GATES[name]


@contextlib.contextmanager
def held(name: str) -> Iterator[None]:
    """Keep a model from ending what it runs; it may begin."""
    gate = _gate(name)
    gate.clear()
    try:
        yield
    finally:
        gate.set()


class Doubled(TypedDict):
    """The only output."""

    y: Rows


class Double:
    """Doubles, and fails on negative rows: with a typed error for those above -10, with any other below."""

    def __init__(self, name: str = "double", seconds: float = 0.0) -> None:
        self._seen = SEEN.setdefault(name, [])
        self._gate = _gate(name)
        self._seconds = seconds

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)
        assert self._gate.wait(30), "a test must let go of what it holds"

    def _run(self, x: Rows) -> Doubled:
        self._seen.append(x.tolist())
        if (x < -10).any():
            message = f"secret {x}"
            raise ValueError(message)
        if (x < 0).any():
            message = "rows must not be negative"
            raise InvalidRequest(message)
        return {"y": x * np.float32(2)}

    @batched(max_batch_size=8)
    def predict(self, x: Rows) -> Doubled:
        """Return twice x, after a while."""
        self._pause(self._seconds)
        return self._run(x)


class DoubleAsync(Double):
    """The same on the event loop."""

    @batched(max_batch_size=8)
    async def predict(self, x: Rows) -> Doubled:  # type: ignore[override]
        """Return twice x, after a while."""
        await asyncio.sleep(self._seconds)
        while not self._gate.is_set():  # noqa: ASYNC110 - an event of threads
            await asyncio.sleep(0.001)
        return self._run(x)


class Plain(Double):
    """The same, but its author says nothing of batches."""

    def predict(self, x: Rows) -> Doubled:
        """Return twice x, after a while."""
        self._pause(self._seconds)
        return self._run(x)


class Wait(Double):
    """As long as each row says, not batched."""

    def predict(self, x: Rows) -> Doubled:
        """Return twice x, after its sum in seconds."""
        self._pause(float(x.sum()))
        return self._run(x)


class Ragged:
    """Sums tokens of several lengths, and gives them back."""

    @batched(max_batch_size=8, cost="ids", pad={"T": (4, 8)})
    def predict(self, ids: Tokens, text: Annotated[np.ndarray, "TEXT (N, T)"]) -> RaggedOutputs:
        """Return what came, with the padding still on it, and sums."""
        assert _gate("ragged").wait(30), "a test must let go of what it holds"
        SEEN.setdefault("ragged", []).append([float(size) for size in ids.shape])
        return {"sums": ids.sum(axis=1), "same": ids, "words": text}


class RaggedOutputs(TypedDict):
    """What Ragged gives."""

    sums: Annotated[np.ndarray, "INT64 (N,)"]
    same: Tokens
    words: Annotated[np.ndarray, "TEXT (N, T)"]


class Told:
    """Tells each caller who it is, in a header and in its rows."""

    @batched(max_batch_size=8)
    def predict(self, x: Rows, contexts: list[Context]) -> Doubled:
        """Return each call's number of rows, and its parameter `who` as a header."""
        assert _gate("told").wait(30), "a test must let go of what it holds"
        for context in contexts:
            context.set_header("x-who", str(context.parameters.get("who")))
        return {"y": np.array([c.rows for c in contexts for _ in range(c.rows)], dtype=np.float32)}


class Short:
    """Gives fewer rows than it got."""

    @batched()
    def predict(self, x: Rows) -> Doubled:
        """Return one row."""
        return {"y": x[:1]}


class Fixed:
    """Cannot be batched: its input has a fixed size."""

    @batched()
    def predict(self, x: Annotated[np.ndarray, "FP32 (3,)"]) -> Doubled:
        """Return x."""
        return {"y": x}


class Work:
    """Real computation on one core that lets go of the interpreter: sorting."""

    def __init__(self, name: str = "work") -> None:
        self._numbers = np.random.default_rng(1).random(600_000)
        self._seen = SEEN.setdefault(name, [])

    def predict(self, x: Rows) -> Doubled:
        """Return x after some milliseconds of work."""
        np.sort(self._numbers)
        return {"y": x}
