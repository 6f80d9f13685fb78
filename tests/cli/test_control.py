"""What commands show of the mesh's messages."""

from __future__ import annotations

from graphmesh.cli.control import as_document
from graphmesh.v1 import graph_pb2, mesh_service_pb2


def test_wide_numbers_are_numbers() -> None:
    """At every depth; instants, text and what is not set stay as the protocol's JSON has them."""
    model = mesh_service_pb2.Model(name="7")
    model.replicas.add(worker_id="w").model.memory_bytes = 5 << 32
    document = as_document(mesh_service_pb2.ListModelsResponse(models=[model]))
    (shown,) = document["models"]
    assert (shown["name"], shown["revision"], shown["graph"]) == ("7", 0, False)
    assert shown["replicas"][0]["model"]["memory_bytes"] == 5 << 32
    revision = graph_pb2.GraphRevision(revision=3)
    revision.create_time.FromSeconds(0)
    document = as_document(revision)
    assert (document["revision"], document["create_time"]) == (3, "1970-01-01T00:00:00Z")
