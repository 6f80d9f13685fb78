"""Snapshots of small meshes, written briefly, for tests of what the gateway decides from one."""

from __future__ import annotations

from graphmesh.core.signature import Signature, TensorSpec, parse_type
from graphmesh.graph.checks.validate import validate
from graphmesh.graph.forms.text import parse_yaml
from graphmesh.graph.forms.wire import graph_from_bytes, graph_to_bytes
from graphmesh.registry import GraphRecord, HostedModel, ModelSpec, ModelState, Snapshot, WorkerRecord

__all__ = ["record", "signature", "snapshot"]


def signature(takes: str = "FP32 (N,)", gives: str = "FP32 (N,)") -> Signature:
    """Return a signature of one input, `x`, and one output, `y`."""
    specs = []
    for name, text in (("x", takes), ("y", gives)):
        datatype, shape, is_text = parse_type(text)
        specs.append(TensorSpec(name=name, datatype=datatype, shape=shape, text=is_text))
    return Signature(inputs=(specs[0],), outputs=(specs[1],))


def record(
    text: str, models: dict[str, Signature] | None = None, *inside: GraphRecord, revision: int = 1
) -> GraphRecord:
    """Return the revision of a graph in YAML, over models, others with `signature()`, and the graphs ``inside`` it."""
    graph = parse_yaml(text)
    graphs = {one.name: graph_from_bytes(one.document) for one in inside}
    known = {**(models or {}), **{one.name: one.signature for one in inside}}
    found = validate(graph, lambda name: known.get(name, signature()), graphs=graphs.get)
    return GraphRecord(
        name=graph.name, document=graph_to_bytes(graph), revision=revision, signature=found, create_time=0, live=True
    )


def snapshot(
    hosted: dict[str, dict[str, Signature]],
    *graphs: GraphRecord,
    state: ModelState = ModelState.AVAILABLE,
) -> Snapshot:
    """Return a mesh: by worker, what it hosts as `name@version` (without version: 1) with its signature."""
    workers, signatures, specs = {}, {}, {}
    for index, (worker_id, models) in enumerate(hosted.items()):
        found = []
        for name, made in models.items():
            model, _, version = name.partition("@")
            found.append(HostedModel(name=model, version=version or "1", state=state, signature_digest=made.digest))
            signatures[made.digest] = made
            specs[model] = ModelSpec(name=model)
        workers[worker_id] = WorkerRecord(
            worker_id=worker_id,
            host="127.0.0.1",
            http_port=9000 + index,
            grpc_port=9100 + index,
            models=tuple(found),
        )
    return Snapshot(
        workers=workers, signatures=signatures, models=specs, graphs={one.name: one for one in graphs}, revision=1
    )
