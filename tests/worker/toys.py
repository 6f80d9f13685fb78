"""Models that tests host: each does one thing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, TypedDict

import numpy as np

from graphmesh.core.errors import from_code

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
