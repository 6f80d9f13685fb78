"""`graphmesh up` applies its graphs: in what order, and what becomes of one that is refused."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from graphmesh.cli.graph_load import load_graphs
from graphmesh.cli.mesh_file import GatewayEntry, MeshFile
from graphmesh.cli.up import Up, UpOptions
from graphmesh.core.errors import InvalidRequest, StartFailed
from graphmesh.v1 import graph_pb2, graph_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class _Graphs(graph_service_pb2_grpc.GraphServiceServicer):
    """Applies graphs, but for those it was told to refuse."""

    def __init__(self) -> None:
        self.port = 0
        self.applied: list[str] = []
        self.refused: dict[str, tuple[grpc.StatusCode, str]] = {}

    def ApplyGraph(self, request: Any, context: Any) -> graph_pb2.GraphRevision:  # noqa: ANN401, N802 - the protocol's
        if request.graph.name in self.refused:
            context.abort(*self.refused[request.graph.name])
        self.applied.append(request.graph.name)
        return graph_pb2.GraphRevision(graph=request.graph, revision=1)


@pytest.fixture
def gateway() -> Iterator[_Graphs]:
    """Return the GraphService of a gateway."""
    graphs = _Graphs()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        graph_service_pb2_grpc.add_GraphServiceServicer_to_server(graphs, server)
        graphs.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield graphs
        server.stop(None).wait()


def write(folder: Path, name: str, target: str) -> str:
    """Write a graph of one step and return its file."""
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\ninputs: [x]\nnodes:\n  a: {{{target}, inputs: {{x: x}}}}\noutputs: {{y: a.y}}\n")
    return str(path)


def apply(gateway: _Graphs, folder: Path, paths: list[str]) -> tuple[set[str], list[str]]:
    """Return what `graphmesh up` applied, and what it said."""
    said: list[str] = []
    mesh = MeshFile(gateway=GatewayEntry(port=gateway.port), graphs=paths)
    options = UpOptions(mesh=mesh, mesh_path=None, run_dir=folder, etcd=(), insecure_bind=False, ready_timeout_s=1)
    return asyncio.run(Up(options, say=said.append)._apply_graphs(load_graphs(paths))), said


def test_a_graph_comes_after_those_it_calls(gateway: _Graphs, tmp_path: Path) -> None:
    """In whatever order mesh.yaml lists them."""
    paths = [write(tmp_path, "outer", "graph: inner"), write(tmp_path, "inner", "model: m")]
    assert apply(gateway, tmp_path, paths)[0] == {"outer", "inner"}
    assert gateway.applied == ["inner", "outer"]


def test_a_refused_graph_keeps_no_other_from_serving(gateway: _Graphs, tmp_path: Path) -> None:
    """It is named with its file and why; the next ones are applied."""
    gateway.refused["bad"] = (grpc.StatusCode.INVALID_ARGUMENT, "node a: model 'm' is not available: w1: no")
    paths = [write(tmp_path, "bad", "model: m"), write(tmp_path, "good", "model: n")]
    applied, said = apply(gateway, tmp_path, paths)
    assert applied == {"good"}
    assert said == [
        f"graph bad from {paths[0]} was refused: node a: model 'm' is not available: w1: no",
        "graph good is live at revision 1",
    ]


def test_a_gateway_that_is_away_is_no_refusal(gateway: _Graphs, tmp_path: Path) -> None:
    """A mesh that cannot store graphs did not start."""
    gateway.refused["g"] = (grpc.StatusCode.UNAVAILABLE, "etcd is away")
    with pytest.raises(StartFailed, match=r"graph g from .*g\.yaml was not applied: .*etcd is away"):
        apply(gateway, tmp_path, [write(tmp_path, "g", "model: m")])


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    """It is named."""
    (tmp_path / "no.yaml").write_text("name: [")
    with pytest.raises(InvalidRequest, match=r"no\.yaml"):
        load_graphs([str(tmp_path / "no.yaml")])


def test_files_and_ports_are_looked_at_before_a_mesh_is_detached(
    graphmesh: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is told here, once, with the exit code of its kind; no process is started that would log it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("graphmesh.cli.local.start_detached", None)
    (tmp_path / "bad.yaml").write_text("name: b\nnodes: {a: {modle: m}, b: {modle: m}}\noutputs: {y: a.y}\n")
    (tmp_path / "mesh.yaml").write_text("{graphs: [bad.yaml], gateway: {grpc_port: 0, metrics_port: 0}}")
    code, _, errors = graphmesh("up", "--detach", "--port", "0")
    assert (code, errors.count("mistakes\n- ")) == (2, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, errors = graphmesh("up", "--detach", "--port", str(taken.getsockname()[1]))
    assert (code, "or gateway.port in mesh.yaml" in errors) == (4, True)
