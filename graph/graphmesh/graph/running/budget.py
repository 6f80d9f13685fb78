"""What one request may still use: calls, and bytes of tensors held at once. Graphs fused into one share it.

Every tensor that a step gives and a run keeps counts its bytes until its last reader has started, what a request brings
until the end. A view counts as if it were a copy, since finding out what it shares costs more than counting: the sum
is never less than what is held. Elements of BYTES tensors count with their lengths.

A graph that is called elsewhere is told how many calls are left when it is called, and says with its answer how many it
made. Of several that are called at once each may use them all, before what they used ends the request: the bound holds
for each, and for the sum only once they have answered.

A graph that streams may make all its calls anew for each answer: how long a stream is, is its reader's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphmesh.core.errors import Overloaded
from graphmesh.graph.limits import MAX_BYTES_IN_FLIGHT, MAX_CALLS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphmesh.core.tensor import Tensor

__all__ = ["Budget", "size_of"]

_MIB = 1 << 20


class Budget:
    """Counts down; what does not fit is refused before it is done.

    Args:
        calls: How many calls may be made.
        held: How many bytes of tensors may be held at once.
    """

    __slots__ = ("bytes_left", "calls_left", "max_bytes", "max_calls")

    def __init__(self, *, calls: int = MAX_CALLS, held: int = MAX_BYTES_IN_FLIGHT) -> None:
        self.max_calls = calls
        """What it began with."""
        self.calls_left = calls
        """Calls that may still be made."""
        self.max_bytes = held
        """What it began with."""
        self.bytes_left = held
        """Bytes that may still be held; never less than 0."""

    def require(self, calls: int) -> None:
        """Check that calls can be made, all of them, before the first is.

        Raises:
            Overloaded: there are not as many left (RESOURCE_EXHAUSTED, retry: no).
        """
        if calls > self.calls_left:
            raise Overloaded(
                f"one request may lead to {self.max_calls} calls here, {self.calls_left} are left and {calls} are "
                "needed; send fewer items, or raise a map's batch_size"
            )

    def spend(self) -> None:
        """Count a call that is about to be made; raises as `require`."""
        if not self.calls_left:
            self.require(1)
        self.calls_left -= 1

    def charge(self, calls: int) -> None:
        """Count calls that were made elsewhere; raises as `require`, and then none are left."""
        if calls > self.calls_left:
            made, self.calls_left = calls - self.calls_left, 0
            raise Overloaded(f"one request may lead to {self.max_calls} calls here, and made {made} more elsewhere")
        self.calls_left -= calls

    def renew(self) -> None:
        """Let all calls be made anew: for the next answer of a stream."""
        self.calls_left = self.max_calls

    def hold(self, size: int) -> None:
        """Count bytes that are kept from now on.

        Raises:
            Overloaded: they do not fit (RESOURCE_EXHAUSTED, retry: no).
        """
        if size > self.bytes_left:
            held = (self.max_bytes - self.bytes_left + size) / _MIB
            raise Overloaded(
                f"one request may hold {self.max_bytes / _MIB:g} MiB of tensors at once on one worker, and this would "
                f"make it {held:.1f} MiB; send fewer or smaller items"
            )
        self.bytes_left -= size

    def release(self, size: int) -> None:
        """Count bytes that are let go."""
        self.bytes_left += size


def size_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors; of BYTES tensors those of their elements, beside eight for each reference."""
    total = 0
    for tensor in tensors:
        total += tensor.nbytes
        if tensor.dtype.hasobject:
            total += sum(map(len, tensor.ravel().tolist()))
    return total
