"""Graphs on one worker without a registry: real models in this process, a snapshot by hand, a mesh that is a script."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.forms.wire import graph_from_bytes, graph_to_bytes
from graphmesh.graph.forms.yaml_form import parse_yaml
from graphmesh.registry import GraphRecord, Snapshot, WorkerRecord
from graphmesh.worker.graphs import GraphCatalog
from graphmesh.worker.handler import Handler
from graphmesh.worker.local import LocalMesh
from graphmesh.worker.metrics.families import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from graphmesh.core.signature import Signature
    from graphmesh.core.tensor import Tensor
    from graphmesh.worker.local.graphs import LocalGraphs

__all__ = ["Bench", "FakeMesh", "bench"]


@dataclass(slots=True)
class FakeMesh:
    """The rest of the mesh: answers by function, notes what it is asked."""

    answers: dict[str, Callable[..., Mapping[str, Tensor]]] = field(default_factory=dict)
    asked: list[InferenceRequest] = field(default_factory=list)

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Answer by the function of the name."""
        self.asked.append(request)
        outputs = self.answers[request.model](**request.inputs)
        return InferenceResponse(model=request.model, version=request.version or "1", outputs=outputs)

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceResponse, None]:
        """Answer once."""
        yield await self.infer(request)


@dataclass(slots=True)
class Bench:
    """A worker's graphs."""

    handler: Handler
    graphs: GraphCatalog
    mesh: FakeMesh
    snapshots: LocalGraphs

    def apply(self, text: str, *, signatures: Callable[[str], Signature | None] | None = None) -> None:
        """Make a graph live; checked against the registry's signatures, or others."""
        graph, snapshot = parse_yaml(text), self.snapshots.snapshot
        live = {name: graph_from_bytes(record.document) for name, record in snapshot.graphs.items()}
        known = signatures or snapshot.signature_of
        signature = validate(graph, lambda name: known(name) or snapshot.signature_of(name), graphs=live.get)
        before = snapshot.graphs.get(graph.name)
        record = GraphRecord(
            name=graph.name,
            document=graph_to_bytes(graph),
            revision=1 if before is None else before.revision + 1,
            signature=signature,
            create_time=time.time(),
        )
        self.change(graphs={**snapshot.graphs, graph.name: record})

    def change(self, **fields: Any) -> None:  # noqa: ANN401 - any field of a snapshot
        """Let the registry be another one."""
        old = self.snapshots.snapshot
        kept = {"workers": old.workers, "signatures": old.signatures, "graphs": old.graphs}
        self.snapshots.snapshot = Snapshot(**{**kept, **fields})

    def elsewhere(self, *workers: WorkerRecord, signatures: Mapping[str, Signature]) -> None:
        """Let other workers register."""
        old = self.snapshots.snapshot
        self.change(
            workers={**old.workers, **{worker.worker_id: worker for worker in workers}},
            signatures={**old.signatures, **{signature.digest: signature for signature in signatures.values()}},
        )

    async def infer(self, name: str, inputs: Mapping[str, Tensor], **more: Any) -> InferenceResponse:  # noqa: ANN401
        """Call a graph or model."""
        return await self.handler.infer(InferenceRequest(model=name, inputs=inputs, **more))


@contextlib.asynccontextmanager
async def bench(models: Mapping[str, Any], *graphs: str) -> AsyncIterator[Bench]:
    """A worker's graphs, with models as `LocalMesh` takes them and graphs as YAML."""
    async with LocalMesh(models=models) as local:
        catalog, snapshots = local._open()._catalog, local._open()._graphs._revisions  # type: ignore[attr-defined]
        mesh, metrics = FakeMesh(), Metrics()
        made = GraphCatalog(
            snapshots, lambda: snapshots.snapshot, catalog=catalog, mesh=mesh, metrics=metrics, worker_id="w"
        )
        made.local = Handler(catalog, made, metrics)
        one = Bench(made.local, made, mesh, snapshots)
        for text in graphs:
            one.apply(text)
        yield one
