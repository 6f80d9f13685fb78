"""One delta discovery stream as an I/O-free state machine: requests and new content in, responses out.

    subscribe ──► send what differs from what the client says it has ──► nonce ──► ACK: the client has it
                                                                             └───► NACK: it keeps what it had

Per type the stream knows which names are subscribed, which version of each was last sent, and which registry revision
each unanswered nonce stands for. `synced_revision` is the highest revision all of whose resources the client has
acknowledged. A response carries only what changed. A client that comes back says what it has
(`initial_resource_versions`); equal versions are not sent again.

Not done: wildcard subscriptions, aliases, time-to-live; this project's Envoy asks for its resources by name.
Specification: Envoy's "xDS REST and gRPC protocol", incremental xDS.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

    from graphmesh.gateway.xds_resources import ResourceSet

__all__ = ["DeltaStream"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Type:
    """What one stream knows about one resource type."""

    subscribed: set[str] = field(default_factory=set)
    """Names the client wants."""
    sent: dict[str, str] = field(default_factory=dict)
    """Version of each resource the client has or is being sent; empty for one that does not exist."""
    pending: dict[str, int] = field(default_factory=dict)
    """Registry revision of each unanswered nonce, oldest first."""
    acknowledged: int = 0
    """Registry revision whose content of this type the client has."""
    refused: bool = False
    """The client refused what was sent last, and keeps what it had."""


class DeltaStream:
    """The server's half of one delta discovery stream."""

    def __init__(self, content: ResourceSet) -> None:
        self._content = content
        self._types: dict[str, _Type] = {}
        self._nonce = 0
        self.rejections = 0
        """Responses the client refused; each is a bug of this project."""

    @property
    def synced_revision(self) -> int:
        """Highest registry revision that the client has all of; 0 before it asked for every type."""
        if not self._types.keys() >= self._content.by_type.keys():
            return 0
        return min(state.acknowledged for state in self._types.values())

    def has(self, content: ResourceSet) -> bool:
        """Return whether the client has acknowledged all of ``content``, which must be the newest."""
        return content is self._content and self.synced_revision == content.revision

    def request(self, request: DeltaDiscoveryRequest) -> Iterator[DeltaDiscoveryResponse]:
        """Take in a request, return what is to be sent."""
        state = self._types.setdefault(request.type_url, _Type())
        state.sent.update(request.initial_resource_versions)
        for name in request.resource_names_subscribe:
            state.subscribed.add(name)
            if name not in request.initial_resource_versions:
                state.sent.pop(name, None)  # asking again means: send it again
        for name in request.resource_names_unsubscribe:
            state.subscribed.discard(name)
            state.sent.pop(name, None)
        if request.response_nonce:
            self._answered(state, request)
        return self._send(request.type_url, state)

    def update(self, content: ResourceSet) -> Iterator[DeltaDiscoveryResponse]:
        """Take in new content, return what is to be sent."""
        self._content = content
        for type_url, state in self._types.items():
            yield from self._send(type_url, state)

    def _answered(self, state: _Type, request: DeltaDiscoveryRequest) -> None:
        revision = state.pending.pop(request.response_nonce, None)
        if request.HasField("error_detail"):
            self.rejections += 1
            state.refused = True
            logger.error("envoy refused a resource type=%s reason=%s", request.type_url, request.error_detail.message)
        elif revision is not None:
            state.acknowledged = revision

    def _send(self, type_url: str, state: _Type) -> Iterator[DeltaDiscoveryResponse]:
        known = self._content.by_type.get(type_url, {})
        wanted = {name: known[name].version if name in known else "" for name in sorted(state.subscribed)}
        changed = {name: version for name, version in wanted.items() if version != state.sent.get(name)}
        if not changed:
            self._unchanged(state)
            return
        self._nonce += 1
        response = DeltaDiscoveryResponse(type_url=type_url, nonce=str(self._nonce))
        for name, version in changed.items():
            if name in known:
                response.resources.add(name=name, version=version, resource=known[name].body)
            else:
                response.removed_resources.append(name)
        state.sent.update(changed)
        state.pending[response.nonce] = self._content.revision
        state.refused = False
        yield response

    def _unchanged(self, state: _Type) -> None:
        """Note that the revision has the content that was sent last."""
        if state.pending:
            state.pending[next(reversed(state.pending))] = self._content.revision
        elif state.subscribed and not state.refused:
            state.acknowledged = self._content.revision
