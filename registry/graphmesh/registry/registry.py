"""The façade: everything the rest of the mesh does with the registry.

Reading is a one-off `read` or a `mirror` that stays current. Leased records (workers, gateways) are registered for the
length of a `Session`. Durable records (models, graphs) change only by transactions that compare what was read.
Every call refuses with RegistryUnavailable within two seconds when etcd does not answer; none of them is on the path of
an inference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from graphmesh.core.clock import SystemClock
from graphmesh.core.errors import FailedPrecondition
from graphmesh.registry import wire
from graphmesh.registry._graphs import GraphTable
from graphmesh.registry._models import ModelTable
from graphmesh.registry.keys import Keys
from graphmesh.registry.kv import Compare, Delete
from graphmesh.registry.mirror import Mirror
from graphmesh.registry.records import WorkerRecord
from graphmesh.registry.session import Registration, Session
from graphmesh.registry.view import View

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

    from graphmesh.core.clock import Clock
    from graphmesh.core.signature import Signature
    from graphmesh.registry.guard import HoldPolicy
    from graphmesh.registry.kv import KV
    from graphmesh.registry.records import GatewayRecord, GraphRecord, ModelSpec
    from graphmesh.registry.snapshot import Snapshot

__all__ = ["Registry"]

DEFAULT_TTL_S = 15.0


class Registry:
    """One mesh's registry, over one store. An async context manager; leaving it lets go of the store's connections."""

    def __init__(self, kv: KV, *, mesh: str = "default", clock: Clock | None = None) -> None:
        self._kv = kv
        self._clock = clock or SystemClock()
        self._keys = Keys(mesh)
        self._models = ModelTable(kv, self._keys)
        self._graphs = GraphTable(kv, self._keys)

    async def __aenter__(self) -> Self:
        """Return the registry; connections are made when they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store. Sessions and mirrors must have been closed before."""
        await self._kv.close()

    # Reading

    async def read(self) -> Snapshot:
        """Return everything registered now: one linearizable listing.

        Raises:
            RegistryUnavailable: etcd does not answer (UNAVAILABLE, retry: same).
        """
        view = View(self._keys)
        view.replace(await self._kv.list(self._keys.prefix))
        return view.snapshot()

    def mirror(self, *, hold: HoldPolicy | None = None) -> Mirror:
        """Return a copy that keeps itself current while it is entered; ``hold`` turns on the mass-loss guard."""
        return Mirror(self._kv, self._keys, clock=self._clock, hold=hold)

    # Leased records

    async def register_worker(
        self,
        record: WorkerRecord,
        *,
        signatures: Collection[Signature] = (),
        specs: Collection[ModelSpec] = (),
        ttl_s: float = DEFAULT_TTL_S,
    ) -> Session[WorkerRecord]:
        """Register a worker until the session is closed.

        Signatures and specs that are absent are written first (versions are added to specs that exist), then the
        record in one transaction. `Session.update` ignores a record's generation: the session counts. A record that was
        lost comes back in the same way: both collections are read again, so let them grow with what `announce` is told.

        Raises:
            AlreadyExists: another live worker has the id, or a graph has a model's name (ALREADY_EXISTS, retry: after
                ``ttl_s`` if a worker of that id was killed).
            RegistryUnavailable: etcd does not answer (UNAVAILABLE, retry: after ``ttl_s``).
        """

        async def prepare() -> None:
            await self.announce(signatures=signatures, specs=specs)

        registration: Registration[WorkerRecord] = Registration(
            key=self._keys.worker(record.worker_id),
            ttl_s=ttl_s,
            generation=record.generation,
            renew=lambda record, generation: replace(record, generation=generation),
            encode=wire.encode_worker,
            prepare=prepare,
        )
        return await Session(self._kv, registration, record, clock=self._clock).start()

    async def announce(self, *, signatures: Collection[Signature], specs: Collection[ModelSpec]) -> None:
        """Write the signatures and specs that are absent, before a worker's record names them; versions are added.

        Raises:
            AlreadyExists: a graph has a model's name (ALREADY_EXISTS, retry: no).
            RegistryUnavailable: etcd does not answer (UNAVAILABLE, retry: same).
        """
        await self._models.ensure(tuple(specs))
        await self._models.ensure_signatures(tuple(signatures))

    async def register_gateway(self, record: GatewayRecord, *, ttl_s: float = DEFAULT_TTL_S) -> Session[GatewayRecord]:
        """Register a gateway until the session is closed; raises as `register_worker`."""

        async def prepare() -> None:
            """Write nothing: a gateway needs no other record."""

        registration: Registration[GatewayRecord] = Registration(
            key=self._keys.gateway(record.gateway_id),
            ttl_s=ttl_s,
            generation=1,
            renew=lambda record, _generation: record,
            encode=wire.encode_gateway,
            prepare=prepare,
        )
        return await Session(self._kv, registration, record, clock=self._clock).start()

    async def forget(self, record: WorkerRecord | GatewayRecord) -> bool:
        """Take away a record whose process is known to be dead, before its lease runs out.

        Returns:
            Whether it was taken away; not if it has changed since ``record`` was read. A process that lives after all
            notices and registers again.
        """
        if isinstance(record, WorkerRecord):
            key, value = self._keys.worker(record.worker_id), wire.encode_worker(record)
        else:
            key, value = self._keys.gateway(record.gateway_id), wire.encode_gateway(record)
        items = (await self._kv.get([key])).items
        if not items or items[0].value != value:
            return False
        return (await self._kv.txn([Compare(key, items[0].mod_revision)], [Delete(key)])).succeeded

    # Graphs

    async def put_graph(self, name: str, document: bytes, signature: Signature, *, etag: str = "") -> GraphRecord:
        """Write a graph's next revision and make it live; if the live one is equal, return that.

        The newest 100 revisions are kept, and the one that was live until then.

        Args:
            name: The graph's name.
            document: The serialized `graphmesh.v1.Graph`, at most 512 KiB.
            signature: The graph's own signature.
            etag: If given, the live revision's etag must still be this one.

        Raises:
            AlreadyExists: a model has the name (ALREADY_EXISTS, retry: no).
            Conflict: the graph is not at ``etag`` any more (ABORTED, retry: after reading again).
            InvalidRequest: not a graph of that name, or too large (INVALID_ARGUMENT, retry: no).
            RegistryUnavailable: etcd does not answer; the change may have been made, repeating it is safe
                (UNAVAILABLE, retry: same).
        """
        return await self._graphs.put(name, document, signature, etag=etag)

    async def set_live(self, name: str, revision: int, etag: str = "") -> GraphRecord:
        """Make a revision that exists the live one; if it is, nothing changes.

        Raises:
            NotFound: no such graph or revision (NOT_FOUND, retry: no).
            Conflict: the graph is not at ``etag`` any more (ABORTED, retry: after reading again).
            RegistryUnavailable: etcd does not answer; the change may have been made, repeating it is safe
                (UNAVAILABLE, retry: same).
        """
        return await self._graphs.set_live(name, revision, etag=etag)

    async def get_graph(self, name: str, revision: int = 0) -> GraphRecord:
        """Return a revision of a graph; 0 is the live one. Raises NotFound."""
        return await self._graphs.get(name, revision)

    async def list_graph_revisions(self, name: str) -> tuple[GraphRecord, ...]:
        """Return all revisions of a graph, oldest first. Raises NotFound."""
        return await self._graphs.revisions(name)

    async def delete_graph(self, name: str, etag: str = "") -> None:
        """Take a graph out of service; its revision numbers are not used again. Raises NotFound, Conflict."""
        await self._graphs.delete(name, etag=etag)

    # Models

    async def put_model_spec(self, spec: ModelSpec) -> ModelSpec:
        """Create or replace a model's spec. Raises AlreadyExists if a graph has the name."""
        return await self._models.put(spec)

    async def scale_model(self, name: str, replicas: int) -> ModelSpec:
        """Set how many replicas of a model are kept. Raises NotFound."""
        return await self._models.scale(name, replicas)

    async def delete_model(self, name: str) -> None:
        """Forget a model that no live worker hosts.

        Raises:
            NotFound: no such model (NOT_FOUND, retry: no).
            FailedPrecondition: a worker hosts it (FAILED_PRECONDITION, retry: after it stopped).
        """
        hosts = [worker.worker_id for worker, _ in (await self.read()).replicas(name)]
        if hosts:
            raise FailedPrecondition(f"model {name!r} must not be hosted to be deleted; {hosts[0]!r} hosts it")
        await self._models.delete(name)
