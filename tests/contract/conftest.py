"""One mesh for all clients; each test runs against one of its workers directly and through its gateway."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.http import get
from tests.e2e.running import RunningMesh, start_mesh, stop_mesh

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = Path(__file__).parent / "models.py"
MESH = """
workers:
  - name: left
    replicas: 2
    models:
      - {name: add, source: "MODELS:Add"}
      - {name: echo, source: "MODELS:Echo"}
      - {name: upper, source: "MODELS:Upper"}
      - {name: reshape, source: "MODELS:Reshape"}
      - {name: slow, source: "MODELS:Slow"}
      - {name: fails, source: "MODELS:Fails"}
      - {name: count, source: "MODELS:Count"}
      - {name: busy, source: "MODELS:Add"}
      - {name: batched, source: "MODELS:Batched"}
      - {name: movable, source: "MODELS:Add"}
      - {name: fragile, source: "MODELS:Fragile", parameters: {path: FILE}}
graphs: [CHAIN]
"""
CHAIN = """
name: chain
inputs: [{name: x}]
nodes:
  - {name: one, model: add, inputs: {x: x}}
  - {name: two, model: add, inputs: {x: one.y}}
outputs: {y: two.y}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client connects."""

    http: str
    """`host:port` for REST."""
    grpc: str
    """`host:port` for gRPC."""
    direct: bool
    """A worker, not the gateway."""


@pytest.fixture(scope="session")
def fragile_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file without which `fragile` cannot be loaded."""
    path = tmp_path_factory.mktemp("fragile") / "weights"
    path.write_text("weights")
    return path


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, fragile_file: Path) -> Iterator[RunningMesh]:
    """Two workers with the same models, a graph, a gateway."""
    folder = tmp_path_factory.mktemp("contract")
    chain = folder / "chain.yaml"
    chain.write_text(CHAIN)
    document = MESH.replace("MODELS", str(MODELS)).replace("CHAIN", str(chain)).replace("FILE", str(fragile_file))
    running = start_mesh(folder, document)
    yield running
    stop_mesh(running)


@pytest.fixture(scope="session", params=["worker", "gateway"])
def target(request: pytest.FixtureRequest, mesh: RunningMesh) -> Target:
    """A worker of the mesh, then its gateway."""
    if request.param == "gateway":
        return Target(mesh.address, mesh.address, direct=False)
    workers = json.loads(get(f"http://{mesh.address}/v1/workers").body)["workers"]
    worker = min(workers, key=lambda record: str(record["worker_id"]))
    host = worker["host"]
    return Target(f"{host}:{worker['http_port']}", f"{host}:{worker['grpc_port']}", direct=True)
