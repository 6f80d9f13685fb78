"""What can be written of a model, wherever it is written: an entry of `mesh.yaml`, or `model.yaml` in its own folder.

The fields are declared once, with the defaults of `ModelConfig`; each file adds how it names the model and its source.
Unknown fields are refused, so that a misspelt one does not pass in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from graphmesh.core.errors import InvalidRequest
from graphmesh.worker.batching import Batching
from graphmesh.worker.config import Isolation

__all__ = ["BatchingEntry", "Entry", "read_requests"]


class BatchingEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How calls are gathered into batches. Axis 0 of every input and output is the batch."""

    max_batch_size: int = 32
    """Rows of a batch, at least 1. A call that brings more runs alone."""
    max_delay_ms: float = 0.0
    """How long an instance that becomes idle waits for a batch to fill, at most 60000; a call that finds one idle never
    waits."""
    cost: str = ""
    """An input whose number of elements is what a call costs, such as tokens; empty: its rows."""
    max_cost: float = 0.0
    """The most a batch may cost; 0: only its rows count."""
    pad: dict[str, tuple[int, ...]] = {}
    """Allowed sizes, ascending, of dimensions that the signature names; batches are padded to the next."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a model can be configured by, but its name and its source."""

    version: str = ""
    """Digits, in quotes: `"2"`; empty takes what the source says, else 1. A name may be listed in several versions."""
    backend: str = ""
    """What loads it; empty is found out from the source."""
    instances: int = 0
    """How many requests, or batches, a sync `predict` runs at once; 0 takes what the source says, else 1."""
    batching: BatchingEntry | None = None
    """How calls are gathered into batches; left out, it is what the source says, else they are not."""
    isolation: Isolation = Isolation.NONE
    """`process` runs the model in a process of its own: its crash, hang or leak leaves other models alone."""
    hang_s: float = 30.0
    """With `isolation: process`: it is started again when all instances are still busy this long after their callers
    left."""
    device: str = ""
    """`cpu`, `cuda` or `cuda:1`; empty takes a GPU if the backend finds one."""
    max_waiting: int = 1024
    """How many calls may wait for an instance; more are refused."""
    max_wait_s: float = 30.0
    """A call that would wait longer than this is refused at once."""
    warmup: list[dict[str, Any]] | str = []
    """Inputs in natural JSON that are run before the model is announced, or a file with one such object a line, as
    `graphmesh infer --record` writes it."""
    sha256: str = ""
    """The file's SHA-256 in lower-case hex, which must match; formats that can carry code are not loaded without. Not
    from a `model.yaml`, nor are the parameters `trusted` and `module`: what lies in a folder cannot trust itself."""
    parameters: dict[str, Any] = {}
    """Keyword arguments for the class, or options of the backend. In mesh.yaml, a `wheel://` value becomes the
    file's path."""

    def settings(self) -> dict[str, Any]:
        """Return the fields, those of subclasses too, as arguments of a `ModelConfig`.

        Raises:
            InvalidRequest: batches cannot be as described, or the file of `warmup` cannot be read (INVALID_ARGUMENT).
        """
        requests = read_requests(Path(self.warmup)) if isinstance(self.warmup, str) else self.warmup
        batching = None if self.batching is None else Batching(**msgspec.structs.asdict(self.batching))
        return {**msgspec.structs.asdict(self), "batching": batching, "warmup": tuple(requests)}


def read_requests(path: Path) -> list[dict[str, Any]]:
    """Return recorded requests: one JSON object of inputs by name a line.

    Raises:
        InvalidRequest: the file cannot be read, or a line is something else; names both (INVALID_ARGUMENT).
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InvalidRequest(f"warmup: {path} cannot be read: {error.strerror}") from None
    return [_request(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _request(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = f"warmup: line {number} of {path}"
        raise InvalidRequest(f"{what} must be a JSON object of inputs by name: {error}") from None
