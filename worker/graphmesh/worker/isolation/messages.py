"""What a worker and a model's process say to one another: MessagePack; large tensors are in arenas.

On the control connection: `Load`, later `Lane`, `Cancel` and `Unload`; its end ends the process. Back comes `Loaded`,
`Resolved` or `Refused`. On a lane, one call at a time: `Run`, for a streaming model then a `Next` for each further
answer or a `Close`; back comes an `Answer`, or a `Failure`, for each.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "Answer",
    "Call",
    "Cancel",
    "Close",
    "Failure",
    "Lane",
    "Load",
    "Loaded",
    "Next",
    "Refused",
    "Resolved",
    "Run",
    "TensorMeta",
    "Unload",
    "from_child",
    "from_parent",
    "lane_from_child",
    "lane_from_parent",
]


class TensorMeta(msgspec.Struct, array_like=True, frozen=True):
    """Where a tensor is."""

    name: str
    """Its name."""
    datatype: str
    """As in the Open Inference Protocol."""
    shape: list[int]
    """Its shape."""
    offset: int
    """Its first byte."""
    length: int
    """Its bytes."""


class Load(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """To the process: load this."""

    config: dict[str, Any]
    """The fields of a `ModelConfig`."""
    resolve: bool = False
    """Only say what the source holds."""


class Loaded(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """From the process: the model can run."""

    signature: bytes
    """A serialized `graphmesh.v1.Signature`."""
    platform: str
    """The backend and its version."""
    is_async: bool
    """Whether calls overlap on an event loop."""
    wants_context: bool
    """Whether `run` takes contexts."""
    batching: dict[str, Any] | None
    """The fields of a `Batching`."""


class Resolved(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """From the process: what the source holds."""

    configs: list[dict[str, Any]]
    """The fields of each `ModelConfig`."""


class Refused(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """From the process: the model cannot be loaded."""

    message: str
    """The reason, fit for clients."""


class Lane(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """To the process, with a file descriptor: a connection for one call at a time."""


class Unload(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """To the process: give back what the model holds, and end."""


class Cancel(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """To the process: the caller of this call has left."""

    call: int
    """The call's number."""


class Call(msgspec.Struct, array_like=True, frozen=True):
    """What a `Context` knows."""

    number: int
    """Different for each call; `Cancel` names it."""
    model: str
    """The model's name."""
    version: str
    """The version that runs."""
    request_id: str
    """The caller's id."""
    remaining_s: float | None
    """Seconds until the deadline; None: there is none."""
    rows: int
    """Rows of the batch."""
    headers: dict[str, str]
    """Request headers."""
    parameters: dict[str, bool | int | float | str]
    """Request parameters."""
    cancelled: bool
    """Whether the caller has left already."""


class Run(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """On a lane: run the model."""

    tensors: list[TensorMeta]
    """The inputs."""
    inline: bytes | None
    """The inputs' bytes; None if they are in the lane's arena, which comes with the message if it is another one."""
    calls: list[Call]
    """One for each call of a batch."""
    slot: int
    """Which of the lane's answer arenas is free; -1: none."""


class Next(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """On a lane: give the next answer of the stream."""

    slot: int
    """As in `Run`."""


class Close(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """On a lane: the caller of the stream has left."""


class Answer(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """On a lane: what the model gave."""

    tensors: list[TensorMeta]
    """The outputs."""
    inline: bytes | None
    """The outputs' bytes; None if they are in the answer arena."""
    headers: list[dict[str, str]]
    """Response headers, for each call."""
    ended: bool
    """Whether it is the last of a stream, which then carries nothing."""
    kept: bool
    """Whether the model still holds on to its inputs; their arena is then not used again."""


class Failure(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """On a lane: the model raised."""

    code: int
    """The code of a `GraphmeshError`, -1 for any other exception."""
    message: str
    """Its message, or the traceback."""
    retry_after_s: float
    """Of an `Overloaded`."""
    kept: bool
    """As in `Answer`."""


def from_parent() -> msgspec.msgpack.Decoder[Load | Lane | Cancel | Unload]:
    """Return what reads the control connection in the process."""
    return msgspec.msgpack.Decoder(Load | Lane | Cancel | Unload)


def from_child() -> msgspec.msgpack.Decoder[Loaded | Resolved | Refused]:
    """Return what reads the control connection in the worker."""
    return msgspec.msgpack.Decoder(Loaded | Resolved | Refused)


def lane_from_parent() -> msgspec.msgpack.Decoder[Run | Next | Close]:
    """Return what reads a lane in the process."""
    return msgspec.msgpack.Decoder(Run | Next | Close)


def lane_from_child() -> msgspec.msgpack.Decoder[Answer | Failure]:
    """Return what reads a lane in the worker."""
    return msgspec.msgpack.Decoder(Answer | Failure)
