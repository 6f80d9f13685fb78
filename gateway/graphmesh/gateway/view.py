"""What this gateway knows of the mesh and of itself; the services look here, the process writes here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from graphmesh.core.errors import FailedPrecondition, Unavailable
from graphmesh.core.oip import EXTENSIONS
from graphmesh.core.version import software_version
from graphmesh.gateway.absent import reason
from graphmesh.gateway.standing import READY

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphmesh.core.errors import GraphmeshError
    from graphmesh.gateway.standing import Standing, Standings
    from graphmesh.gateway.xds_server import DiscoveryServer
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["About", "Reader", "View"]


@dataclass(frozen=True, slots=True)
class About:
    """A server, as the Open Inference Protocol describes servers."""

    name: str
    """What it is."""
    version: str
    """Its version."""
    extensions: tuple[str, ...]
    """What it supports beyond the protocol's core, workers included."""


ABOUT = About("graphmesh", software_version(), EXTENSIONS)


class Reader(Protocol):
    """A mirror of the registry."""

    @property
    def snapshot(self) -> Snapshot:
        """The mesh as last read."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the registry answers."""
        ...

    def age(self) -> float:
        """Return the seconds since the snapshot was known to be current."""
        ...

    async def wait_for(self, predicate: Callable[[Snapshot], bool], timeout_s: float) -> Snapshot:
        """Return the first snapshot that ``predicate`` holds for, or raise DeadlinePassed."""
        ...


@dataclass(slots=True)
class View:
    """The gateway's own state."""

    mesh: str
    """The mesh's name."""
    discovery: DiscoveryServer
    """Where Envoy gets its resources."""
    mirror: Reader | None = None
    """The registry's mirror; None until it has listed."""
    envoy_pid: int = 0
    """Envoy's process; 0 while it is not running."""
    standings: Standings = field(default_factory=dict)
    """How graphs stand, as of the snapshot that Envoy was last sent; a graph that is not in here is new."""
    about: About = ABOUT
    """This server."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The mesh as last read; None before the first read."""
        return self.mirror.snapshot if self.mirror else None

    def current(self) -> Snapshot:
        """Return the mesh as last read, or raise Unavailable."""
        if self.mirror is None:
            raise Unavailable("this gateway has not read the registry yet; repeat in a moment")
        return self.mirror.snapshot

    def set_envoy_pid(self, pid: int) -> None:
        """Note which process Envoy is now; 0 for none."""
        self.envoy_pid = pid

    def standing(self, graph: str) -> Standing:
        """Return how a graph stands."""
        return self.standings.get(graph, READY)

    def absent(self, model: str, version: str) -> GraphmeshError:
        """Return why no worker answers calls of a model or graph; see `absent.reason`.

        FailedPrecondition for a graph that works with no version of its models that is served.
        """
        standing = self.standing(model)
        if standing.broken:
            return FailedPrecondition(f"graph {model!r} is not ready: {standing.problem}", metadata={"model": model})
        return reason(self.snapshot, model, version)

    @property
    def ready(self) -> bool:
        """Whether inference can be served: Envoy runs and has what the registry holds."""
        return self.envoy_pid > 0 and self.discovery.statistics.synced_revision > 0
