"""Where each record is kept.

/graphmesh/{mesh}/workers/{worker_id}             WorkerRecord    under the worker's lease
/graphmesh/{mesh}/gateways/{gateway_id}           GatewayRecord   under the gateway's lease
/graphmesh/{mesh}/signatures/{sha256}             Signature       durable, content-addressed
/graphmesh/{mesh}/models/{name}                   ModelSpec       durable
/graphmesh/{mesh}/graphs/{name}/revisions/{n}     GraphRevision   durable, immutable
/graphmesh/{mesh}/graphs/{name}/live              LiveRevision    durable pointer
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphmesh.core.names import check_model_name

__all__ = ["Key", "Keys"]

_KEY = re.compile(r"(?P<kind>workers|gateways|signatures|models)/(?P<name>[^/]+)")
_GRAPH_KEY = re.compile(r"graphs/(?P<name>[^/]+)/(?:live|revisions/(?P<revision>[0-9]{1,18}))")


@dataclass(frozen=True, slots=True)
class Key:
    """A key taken apart."""

    kind: str
    """`workers`, `gateways`, `signatures`, `models`, `live` or `revisions`."""
    name: str
    """The id, digest or name."""
    revision: int = 0
    """For `revisions` only."""


class Keys:
    """The keys of one mesh."""

    def __init__(self, mesh: str) -> None:
        self.prefix = f"/graphmesh/{check_model_name(mesh)}/"
        """What all of them start with."""

    def worker(self, worker_id: str) -> str:
        """Return a worker's key."""
        return f"{self.prefix}workers/{worker_id}"

    def gateway(self, gateway_id: str) -> str:
        """Return a gateway's key."""
        return f"{self.prefix}gateways/{gateway_id}"

    def signature(self, digest: str) -> str:
        """Return a signature's key."""
        return f"{self.prefix}signatures/{digest}"

    def model(self, name: str) -> str:
        """Return a model spec's key."""
        return f"{self.prefix}models/{name}"

    def live(self, name: str) -> str:
        """Return the key of a graph's live pointer: it exists exactly while the graph does."""
        return f"{self.prefix}graphs/{name}/live"

    def revisions(self, name: str) -> str:
        """Return the prefix of a graph's revisions."""
        return f"{self.prefix}graphs/{name}/revisions/"

    def revision(self, name: str, revision: int) -> str:
        """Return the key of one revision of a graph."""
        return f"{self.revisions(name)}{revision}"

    def parse(self, key: str) -> Key | None:
        """Return the parts of a key; None if it is none of this mesh's."""
        rest = key.removeprefix(self.prefix)
        if rest is key:
            return None
        if match := _KEY.fullmatch(rest):
            return Key(match["kind"], match["name"])
        if match := _GRAPH_KEY.fullmatch(rest):
            revision = match["revision"]
            return Key("revisions", match["name"], int(revision)) if revision else Key("live", match["name"])
        return None
