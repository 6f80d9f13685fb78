"""Answers of a branch, remembered by what goes into it, and one run for calls that are equal and come together.

    nothing remembered, none runs   this call runs the branch: it leads
    one runs                        this call waits, as long as its own deadline lets it
    it answers                      all that wait share the answer; it is remembered, unless it is degraded
    it fails                        all that wait share the error; it is not remembered: the next call tries again
    its caller leaves               the first of those that wait takes over and leads
    its time is up                  the same, for those that have more time than it had; the others share the error

The branch runs in the task of the call that leads, so that nothing runs that nobody waits for: what is taken over
starts anew. Nothing is handed to another task while it runs, so that a call that is cancelled cancels what it started,
here as everywhere.

A branch inside sees no headers, and no parameters that say how a request is answered (`UNSEEN`): they are not in the
key, so that an answer may not depend on them. A condition that asks for one fails; put the switch around the cache.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from graphmesh.core.errors import Code, DeadlinePassed, GraphmeshError
from graphmesh.graph.limits import DEFAULT_CACHE_BYTES, DEFAULT_CACHE_ENTRIES, DEFAULT_TTL_S
from graphmesh.graph.running.actions.asides import adopt, aside
from graphmesh.graph.running.actions.complete import complete
from graphmesh.graph.running.actions.content import digest
from graphmesh.graph.running.actions.offload import worked
from graphmesh.graph.running.actions.once import Once
from graphmesh.graph.running.actions.remembered import Remembered, frozen

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from graphmesh.core.inference import Parameter
    from graphmesh.core.tensor import Tensor
    from graphmesh.graph.running.action import Inner
    from graphmesh.graph.running.actions.memory import CacheMemory
    from graphmesh.graph.running.frame import Frame
    from graphmesh.graph.running.host import Signal

__all__ = ["UNSEEN", "CacheAction", "CacheStatistics"]

UNSEEN = frozenset({"degraded", "explain", "priority", "timeout"})
"""Parameters of a request that say how it is answered, not what with: nothing in a cache's body sees them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStatistics:
    """What a cache holds and did."""

    entries: int
    """Answers that are remembered."""
    held_bytes: int
    """Bytes of their tensors."""
    hits: int
    """Calls that got a remembered answer."""
    misses: int
    """Calls that ran the branch."""
    shared: int
    """Calls that got the answer or error of an equal one that ran at the same time."""


class _Key(NamedTuple):
    """What makes calls equal."""

    content: Hashable
    """Digest of inputs and parameters."""
    answering: Hashable
    """What would answer calls of the body's targets."""
    wanted: tuple[str, ...]
    """The outputs that are asked for."""


@dataclass(slots=True)
class _Flight:
    """One run of the branch, which others wait for."""

    ended: Signal
    """Set when it has ended, whatever way."""
    deadline_at: float
    """When its caller's time is up."""
    outputs: Mapping[str, Tensor] | None = None
    """What it answered."""
    degraded: list[str] = field(default_factory=list)
    """What was degraded in it."""
    error: GraphmeshError | None = None
    """Why it failed; None, too, if its caller left."""


class CacheAction(Once):
    """Runs its body for inputs that are not remembered. Notes `cache`: ``hit``, ``miss`` or ``shared``.

    What makes calls equal: inputs, parameters but `UNSEEN` (see `content.digest`), what would answer calls of the
    body's targets (`Host.versions`), and which outputs are wanted.

    Args:
        body: What is run.
        ttl_s: Seconds that an answer is remembered; 0 means `limits.DEFAULT_TTL_S`.
        max_entries: Most answers; 0 means `limits.DEFAULT_CACHE_ENTRIES`.
        max_bytes: Most bytes of their tensors; 0 means `limits.DEFAULT_CACHE_BYTES`.
        memory: What it shares with all other caches of the process.
    """

    def __init__(self, *, body: Inner, ttl_s: float, max_entries: int, max_bytes: int, memory: CacheMemory) -> None:
        self._body = body
        self._remembered = Remembered(
            ttl_s=ttl_s or DEFAULT_TTL_S,
            max_entries=max_entries or DEFAULT_CACHE_ENTRIES,
            max_bytes=max_bytes or DEFAULT_CACHE_BYTES,
            memory=memory,
        )
        self._flights: dict[Hashable, _Flight] = {}
        self._hits = self._misses = self._shared = 0

    def statistics(self) -> CacheStatistics:
        """Return what it holds and did until now."""
        return CacheStatistics(
            entries=len(self._remembered),
            held_bytes=self._remembered.held_bytes,
            hits=self._hits,
            misses=self._misses,
            shared=self._shared,
        )

    async def run(self, inputs: Mapping[str, Tensor], frame: Frame) -> Mapping[str, Tensor]:
        """Return the answer: tensors that are nobody else's and cannot be written to.

        Raises:
            GraphmeshError: of the body, or of the equal call that ran it.
            DeadlinePassed: while an equal call ran (DEADLINE_EXCEEDED, retry: no).

        Cancellation: equal calls that wait are not cancelled; one of them runs the body anew.
        """
        parameters = {name: value for name, value in frame.run.parameters.items() if name not in UNSEEN}
        key = await self._key(inputs, parameters, frame)
        # No await between looking and leading: of all that a flight's end wakes, the first leads and the others see it.
        while True:
            outputs = self._remembered.get(key, now=frame.run.host.now())
            if outputs is not None:
                self._hits += 1
                frame.note(cache="hit")
                return outputs
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(key, inputs, parameters, frame)
            outputs = await self._follow(flight, frame)
            if outputs is not None:
                return outputs

    async def _key(self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Parameter], frame: Frame) -> _Key:
        host = frame.run.host
        content = await worked(host, inputs.values(), lambda: digest(inputs, parameters))
        return _Key(content, host.versions(self._body.targets), tuple(sorted(frame.outputs)))

    async def _lead(
        self, key: _Key, inputs: Mapping[str, Tensor], parameters: Mapping[str, Parameter], frame: Frame
    ) -> Mapping[str, Tensor]:
        """Run the body for this call and all that wait."""
        host = frame.run.host
        self._misses += 1
        frame.note(cache="miss")
        flight = self._flights[key] = _Flight(host.signal(), frame.deadline.at)
        inner = aside(frame)
        inner.run.headers, inner.run.parameters = {}, parameters
        try:
            outputs = await complete(self._body, inputs, inner)
            kept = await worked(host, outputs.values(), lambda: frozen(outputs))
            # A model that was loaded again while this ran may have answered before that, or after.
            same = key.answering == host.versions(self._body.targets)
            if same and not inner.run.degraded and self._remembered.fits(kept):
                self._remembered.put(key, kept, now=host.now())
            flight.outputs, flight.degraded = kept, inner.run.degraded
        except GraphmeshError as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.ended.set()
        adopt(frame, inner)
        return kept

    async def _follow(self, flight: _Flight, frame: Frame) -> Mapping[str, Tensor] | None:
        """Return what an equal call got, or None if this one should run the body after all; raises as `run`."""
        if not await flight.ended.wait(frame.deadline.at - frame.run.host.now()):
            raise DeadlinePassed("the deadline passed while an equal call ran, whose answer was waited for")
        if flight.error is not None:
            if flight.error.code is Code.DEADLINE_EXCEEDED and frame.deadline.at > flight.deadline_at:
                return None
            self._report_shared(frame)
            raise copy.copy(flight.error) from flight.error
        if flight.outputs is not None:
            self._report_shared(frame)
            frame.run.degraded.extend(flight.degraded)
        return flight.outputs

    def _report_shared(self, frame: Frame) -> None:
        self._shared += 1
        frame.note(cache="shared")
