"""Work on tensors that is large enough to hold up other calls is done where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from graphmesh.graph.running.budget import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.host import Host

__all__ = ["INLINE_BYTES", "spare", "worked"]

INLINE_BYTES = 1 << 20
"""Work on up to this much is done at once: what steps do with a MiB takes about a millisecond."""

_REFERENCE = 64
"""Handling an element of text takes about as long as this many numbers of its eight bytes."""

_TURN_S = 0.00025
"""Work that took longer lets others go on after it, or many such steps in a row would hold them up."""

_T = TypeVar("_T")


async def spare(host: Host, since: float) -> None:
    """Let others go on if work was done here for a while since then."""
    if host.now() - since > _TURN_S:
        await host.turn()


async def worked(host: Host, tensors: Iterable[Tensor], work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, which reads ``tensors``; raises as it does.

    Cancellation: as `Host.compute`.
    """
    return work() if _short(list(tensors)) else await host.compute(work)


def _short(tensors: Sequence[Tensor]) -> bool:
    """Return whether work on tensors takes about a millisecond; of many texts without a look at each."""
    handled = sum(tensor.nbytes * (_REFERENCE if tensor.dtype.hasobject else 1) for tensor in tensors)
    return handled <= INLINE_BYTES and size_of(tensors) <= INLINE_BYTES
