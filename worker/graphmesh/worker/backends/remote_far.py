"""A model at another server: what can be asked of it, and what it says of itself, as a signature.

The same for gRPC and REST.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from graphmesh.core.errors import GraphmeshError, InvalidRequest, LoadFailed
from graphmesh.core.signature import Dimension, Signature, TensorSpec
from graphmesh.worker.forms.text_properties import text_from_properties

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence

    from graphmesh.core.inference import InferenceRequest, InferenceResponse
    from graphmesh.worker.backends.remote_address import Address

__all__ = [
    "ASK_S",
    "Description",
    "Far",
    "beside_if_large",
    "cannot_be_read",
    "close_on",
    "describe",
    "led",
    "no_model",
    "nobody",
    "size_of",
]

ASK_S = 10.0
"""How long a server may take to answer a question about a model."""

_Result = TypeVar("_Result")

_BATCH = "N"
_CLOSE_S = 5.0
_ON_LOOP_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model at another server."""

    signature: Signature
    """What it takes and gives; open dimensions have no name, but axis 0 has one if the server batches."""
    platform: str
    """What runs it there; empty if the server does not say."""
    max_batch_size: int
    """Rows that the server takes at most; 0 if it does not batch, or does not say."""


class Far(Protocol):
    """A model at another server."""

    def describe(self) -> Description:
        """Ask for the model; blocks for some times `ASK_S` at most, so call it off the event loop.

        Raises:
            LoadFailed: no such server or model, or what it says cannot be used.
        """
        ...

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Run one request there.

        Raises:
            GraphmeshError: what the server answered, with its code.
            Unavailable: the server cannot be reached, or was lost (UNAVAILABLE, retry: same).
            DeadlinePassed: the deadline passed before the answer was there (DEADLINE_EXCEEDED, retry: no).

        Cancellation: the call there is cancelled at once.
        """
        ...

    def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Run one request there and yield each of its answers; raises as `infer`, at any time."""
        ...

    def close(self) -> None:
        """Close the connections; blocks, so call it off the event loop that ran the calls."""
        ...


def describe(
    address: Address,
    inputs: Iterable[tuple[str, str, Sequence[int]]],
    outputs: Iterable[tuple[str, str, Sequence[int]]],
    *,
    properties: Mapping[str, object],
    platform: str = "",
    max_batch_size: int = 0,
    streaming: bool = False,
) -> Description:
    """Return what a server says of a model.

    Args:
        address: Where the model is.
        inputs: Names, datatypes and shapes; a negative size is open.
        outputs: As ``inputs``.
        properties: What else it says; another graphmesh says which tensors are text.
        platform: What runs it there.
        max_batch_size: Triton's; if there is one, axis 0 of all tensors is the batch.
        streaming: Whether a request has any number of answers, Triton's "decoupled".

    Raises:
        LoadFailed: it says nothing of its tensors, or something that is not in the protocol.
    """
    named = bool(max_batch_size) and not streaming  # the answers of a stream need not have the rows of the request
    try:
        signature = Signature(
            tuple(_spec(*one, named=named) for one in inputs),
            tuple(_spec(*one, named=named) for one in outputs),
            streaming=streaming,
        )
    except InvalidRequest as error:
        raise LoadFailed(f"{address.authority}: {address.what} cannot be typed: {error.message}") from error
    if not signature.inputs or not signature.outputs:
        missing = "outputs" if signature.inputs else "inputs"
        raise LoadFailed(
            f"{address.authority}: {address.what} cannot be typed: its metadata names no {missing}; declare its inputs "
            "and outputs in its settings there"
        )
    signature = text_from_properties(signature, properties)
    return Description(signature=signature, platform=platform, max_batch_size=max_batch_size)


def _spec(name: str, datatype: str, shape: Sequence[int], *, named: bool) -> TensorSpec:
    sizes: list[Dimension] = [size if size >= 0 else None for size in shape]
    if named and sizes and sizes[0] is None:
        sizes[0] = _BATCH
    return TensorSpec(name=name, datatype=datatype, shape=tuple(sizes))


def nobody(address: Address, reason: str) -> str:
    """Return what to say of a server that does not answer."""
    return f"no server answers at {address.authority} ({reason}); start it, or correct the address"


def no_model(address: Address, reason: str = "") -> str:
    """Return what to say of a server that does not serve the model."""
    why = f" ({reason})" if reason else ""
    return f"{address.authority} has no model {address.what} that is ready{why}; load it there, or correct the address"


def led(address: Address, error: GraphmeshError) -> GraphmeshError:
    """Return an error whose message begins with the server that it came from."""
    error.message = f"{address.authority}: {error.message}"
    error.args = (error.message,)
    return error


def cannot_be_read(address: Address, error: GraphmeshError) -> GraphmeshError:
    """Return the error for an answer that is malformed: it is the server's fault, not the caller's (INTERNAL)."""
    return GraphmeshError(f"{address.authority}: the answer cannot be read: {error.message}")


def size_of(request: InferenceRequest) -> int:
    """Return about how many bytes a request has."""
    return sum(array.nbytes for array in request.inputs.values())


async def beside_if_large(size: int, work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Return what work gives; for a large message, whose bytes are copied or looked through, beside the event loop."""
    return work(*arguments) if size <= _ON_LOOP_BYTES else await asyncio.to_thread(work, *arguments)


def close_on(loop: asyncio.AbstractEventLoop | None, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Have connections closed on the event loop that they belong to, and wait until they are, if it still runs."""
    if loop is not None and loop.is_running():
        asyncio.run_coroutine_threadsafe(close(), loop).result(_CLOSE_S)
