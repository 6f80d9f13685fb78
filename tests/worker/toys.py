"""Models that tests host: each does one thing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - annotations of predict are read
from dataclasses import dataclass
from typing import Annotated, TypedDict

import numpy as np

from graphmesh.core.errors import Overloaded, from_code
from graphmesh.worker import Context, batched

Vector = Annotated[np.ndarray, "FP32 (N,)"]


class Sum(TypedDict):
    """The only output."""

    y: Vector


class Add:
    """Adds a constant, on the event loop."""

    def __init__(self, amount: float = 1.0) -> None:
        self.amount = np.float32(amount)

    async def predict(self, x: Vector) -> Sum:
        """Return x plus the amount."""
        return {"y": x + self.amount}


class AddSync(Add):
    """Adds a constant, on a thread."""

    def predict(self, x: Vector) -> Sum:  # type: ignore[override]
        """Return x plus the amount."""
        return {"y": x + self.amount}


class Upper:
    """Text to text."""

    def predict(self, text: str) -> str:
        """Return the text in capitals."""
        return text.upper()


class Words:
    """Text to a list of text, with an array of text beside it."""

    def predict(self, lines: Annotated[np.ndarray, "TEXT (N,)"]) -> list[str]:
        """Return the words of all lines."""
        return [word for line in lines for word in line.split()]


class Reverse:
    """Bytes to bytes."""

    def predict(self, data: bytes) -> bytes:
        """Return the bytes backwards."""
        return data[::-1]


@dataclass
class Facts:
    """Outputs as a dataclass."""

    total: float
    count: int
    positive: bool
    halves: Annotated[np.ndarray, "float16 (N,)"]


class Describe:
    """Scalars and half precision, from a dataclass."""

    def predict(self, values: list[float]) -> Facts:
        """Return facts about the values."""
        halves = np.array(values, dtype=np.float16)
        return Facts(total=sum(values), count=len(values), positive=all(v > 0 for v in values), halves=halves)


class Sleep:
    """Sleeps on the event loop and counts who was cancelled."""

    cancelled = 0
    running = 0

    async def predict(self, seconds: float) -> float:
        """Return after the seconds."""
        type(self).running += 1
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            type(self).cancelled += 1
            raise
        finally:
            type(self).running -= 1
        return seconds


class Block:
    """Sleeps on a thread and counts its calls."""

    calls = 0

    def predict(self, seconds: float) -> float:
        """Return after the seconds."""
        type(self).calls += 1
        time.sleep(seconds)
        return seconds


class Broken:
    """Raises what must not reach clients."""

    def predict(self, x: Vector) -> Sum:
        """Raise."""
        message = "secret at /etc/passwd"
        raise ValueError(message)


class Exits:
    """Tries to end the process."""

    async def predict(self, x: Vector) -> Sum:
        """Exit."""
        raise SystemExit(3)


class Raises:
    """Raises the error of a gRPC code."""

    async def predict(self, code: int) -> int:
        """Raise, or return 0 for OK."""
        if code:
            raise from_code(code, f"code {code} on purpose: 100% é")
        return code


class WrongOutput:
    """Gives doubles where it promised singles."""

    def predict(self, x: Vector) -> Sum:
        """Return another datatype."""
        return {"y": x.astype(np.float64)}


class Fill:
    """Gives as many bytes as it is asked for."""

    def predict(self, size: int) -> Annotated[np.ndarray, "UINT8 (N,)"]:
        """Return zeros."""
        return np.zeros(size, dtype=np.uint8)


class Unloadable:
    """Cannot be loaded."""

    def load(self) -> None:
        """Raise, naming a folder that clients must not learn."""
        message = "cannot read /home/someone/private/weights.bin"
        raise OSError(message)

    def predict(self, x: Vector) -> Sum:
        """Never run."""
        return {"y": x}


class Count:
    """Counts on a thread, with a pause before each number; notes what becomes of its generators."""

    yielded: tuple[float, ...] = ()
    """When it yielded; monotonic seconds."""
    closed: tuple[float, ...] = ()
    """When a generator was left; monotonic seconds."""
    left: tuple[bool, ...] = ()
    """For each that ended, whether its context said that the caller had left."""

    def predict(self, n: int, pause_s: float, context: Context) -> Iterator[int]:
        """Yield 0 to n - 1; fail on purpose where the parameter says so."""
        kind = type(self)
        context.set_header("x-count", str(n))
        try:
            for i in range(n):
                time.sleep(pause_s)
                if context.parameters.get("fail_at") == i:
                    raise from_code(9, f"fails at {i} on purpose")
                if context.parameters.get("break_at") == i:
                    message = "secret at /etc/passwd"
                    raise ValueError(message)
                kind.yielded += (time.monotonic(),)
                yield i
        except GeneratorExit:
            kind.closed += (time.monotonic(),)
            raise
        finally:
            kind.left += (context.cancelled,)


class CountAsync:
    """Counts on the event loop; notes what becomes of its generators."""

    closed = 0
    running = 0

    async def predict(self, n: int, pause_s: float) -> AsyncIterator[int]:
        """Yield 0 to n - 1."""
        kind = type(self)
        kind.running += 1
        try:
            for i in range(n):
                await asyncio.sleep(pause_s)
                yield i
        except (GeneratorExit, asyncio.CancelledError):
            kind.closed += 1
            raise
        finally:
            kind.running -= 1


class Blocks:
    """Yields blocks of bytes as fast as they are taken."""

    made = 0

    def predict(self, n: int, size: int) -> Iterator[Annotated[np.ndarray, "UINT8 (N,)"]]:
        """Yield n blocks."""
        for _ in range(n):
            type(self).made += 1
            yield np.zeros(size, dtype=np.uint8)


class Tokens:
    """A text model as Triton's generate expects it, with inputs of rank one."""

    def predict(
        self,
        text_input: Annotated[np.ndarray, "TEXT (1,)"],
        grid: Annotated[np.ndarray, "INT64 (N, 2)"],
        context: Context,
    ) -> Iterator[Token]:
        """Yield the words, numbered, with the grid's shape and a parameter beside them."""
        scale = context.parameters.get("scale", 1)
        for index, word in enumerate(str(text_input[0]).split()):
            text = np.array([word], dtype=object)
            yield {"text_output": text, "index": index * int(scale), "shape": list(grid.shape)}


class Token(TypedDict):
    """What `Tokens` yields."""

    text_output: Annotated[np.ndarray, "TEXT (1,)"]
    index: int
    shape: list[int]


class Drifts:
    """Keeps to its signature once, then does not."""

    def predict(self, n: int) -> Iterator[Annotated[np.ndarray, "FP32 (N,)"]]:
        """Yield singles, then doubles."""
        yield np.zeros(n, dtype=np.float32)
        yield np.zeros(n, dtype=np.float64)


class Echo:
    """Tells what its context knows, and sets a response header."""

    async def predict(self, name: str, context: Context) -> str:
        """Return the value of an incoming header."""
        context.set_header("x-echo", context.request_id or "none")
        return str(context.headers.get(name, ""))


class Sluggish:
    """Refuses, and says when to come again."""

    async def predict(self, x: Vector) -> Sum:
        """Refuse."""
        message = "too many are waiting"
        raise Overloaded(message, retry_after_s=1.5)


class Together:
    """Adds one to the rows of many calls at a time, once it is let go, and notes how many."""

    rows: tuple[int, ...] = ()
    gate = threading.Event()

    @batched(max_batch_size=16)
    def predict(self, x: Vector) -> Sum:
        """Return x plus one."""
        type(self).rows += (len(x),)
        assert self.gate.wait(30), "a test must let it go"
        return {"y": x + np.float32(1)}
