"""`graphmesh graph show` and `graph explain` against control services that hold one graph."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import yaml

from graphmesh.core.signature import Signature
from graphmesh.core.wire import signature_to_wire
from graphmesh.graph.forms.wire import graph_to_wire
from graphmesh.graph.spec import Binding, Fallback, Graph, GraphInput
from graphmesh.v1 import (
    graph_pb2,
    graph_service_pb2,
    graph_service_pb2_grpc,
    mesh_service_pb2,
    mesh_service_pb2_grpc,
    model_pb2,
    registry_pb2,
)
from tests.graph.pictured import model, step, types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

GRAPH = Graph(
    name="page",
    inputs=(GraphInput(name="x"),),
    nodes=(
        model("find", x="x"),
        step("read", Fallback(branches=(model("big"), model("small"))), x="find.y"),
    ),
    outputs=(Binding(name="y", source="read.y"),),
)
SIGNATURE = Signature(inputs=(types(x="FP32 (8,)")["x"],), outputs=(types(y="FP32 (8,)")["y"],))


class _Graphs(graph_service_pb2_grpc.GraphServiceServicer):
    def __init__(self, graph: Graph) -> None:
        self.revision = graph_pb2.GraphRevision(graph=graph_to_wire(graph), revision=3, live=True)

    def GetGraph(self, request: Any, context: Any) -> graph_pb2.GraphRevision:  # noqa: ANN401, N802 - the protocol's
        if request.name != self.revision.graph.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no graph {request.name!r}")
        return self.revision

    def ListGraphs(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - the protocol's
        return graph_service_pb2.ListGraphsResponse(graphs=[self.revision])


class _Mesh(mesh_service_pb2_grpc.MeshServiceServicer):
    def __init__(self) -> None:
        self.page = graph_pb2.GraphRevision()
        self.hosts: dict[str, list[str]] = {}
        self.versions: dict[tuple[str, str], str] = {}
        self.digests: dict[str, str] = {}
        self.held: list[mesh_service_pb2.HeldVersion] = []
        self.signature = SIGNATURE
        self.signatures: dict[str, Signature] = {}
        self.problem = ""

    def ListModels(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - the protocol's
        answer = mesh_service_pb2.ListModelsResponse()
        for name, workers in self.hosts.items():
            newest = self.signatures.get(name, self.signature)
            found = answer.models.add(name=name, graph=name == "page", signature=signature_to_wire(newest))
            if newest is not self.signature:
                found.other_signatures.append(signature_to_wire(self.signature))
            found.problem = self.problem if found.graph else ""
            for worker in workers:
                version = self.versions.get((name, worker), "1")
                hosted = model_pb2.HostedModel(
                    name=name,
                    version=version,
                    state=model_pb2.MODEL_STATE_AVAILABLE,
                    signature_digest=self.digests.get(version, self.signature.digest),
                )
                found.replicas.add(worker_id=worker, model=hosted)
            hosted = model_pb2.HostedModel(name=name, state=model_pb2.MODEL_STATE_LOADING)
            found.replicas.add(worker_id="loading", model=hosted)
            found.held.extend(held for held in self.held if name in {held.model, held.graph})
        return answer

    def ListWorkers(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - the protocol's
        ids = sorted({worker for workers in self.hosts.values() for worker in workers})
        return mesh_service_pb2.ListWorkersResponse(
            workers=[registry_pb2.WorkerRecord(worker_id=worker) for worker in ids]
        )


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Mesh]:
    """Return control services that answer at the default gateway."""
    mesh = _Mesh()
    mesh.hosts = {"page": ["w1"], "find": ["w1"], "big": ["w2", "w3"], "small": ["w1"]}
    server = grpc.server(ThreadPoolExecutor(2))
    graphs = _Graphs(GRAPH)
    mesh.page = graphs.revision
    graph_service_pb2_grpc.add_GraphServiceServicer_to_server(graphs, server)
    mesh_service_pb2_grpc.add_MeshServiceServicer_to_server(mesh, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("GRAPHMESH_GATEWAY_ADDRESS", f"127.0.0.1:{port}")
    yield mesh
    server.stop(None).wait()


def test_a_graph_is_drawn_for_the_terminal(graphmesh: Run, control: _Mesh) -> None:
    """Types come from the models that the mesh has."""
    code, out, _ = graphmesh("graph", "show", "page")
    assert code == 0
    assert "  x <- find.y: FP32 (8,)\n  ├─ first: big = model big\n" in out


def test_a_graph_that_no_longer_fits_is_drawn_without_types(graphmesh: Run, control: _Mesh) -> None:
    """What the models have become does not keep a graph from being shown."""
    control.signature = Signature(inputs=(), outputs=())
    assert "  x <- find.y\n" in graphmesh("graph", "show", "page")[1]


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (["--as", "mermaid"], "flowchart LR"),
        (["--as", "svg"], "<svg "),
        (["--as", "text"], "graph page"),
    ],
)
def test_forms(graphmesh: Run, control: _Mesh, arguments: list[str], begin: str) -> None:
    """A picture is printed in the form that is asked for."""
    assert graphmesh("graph", "show", "page", *arguments)[1].startswith(begin)


@pytest.mark.parametrize(
    ("name", "arguments", "begin"),
    [
        ("g.svg", [], "<svg "),
        ("g.mmd", [], "flowchart LR"),
        ("g.txt", [], "graph page"),
        ("g.svg", ["--as", "text"], "graph page"),
        ("json", ["--as", "svg"], "<svg "),
    ],
)
def test_files(  # noqa: PLR0917 - parameters of the test
    graphmesh: Run, control: _Mesh, tmp_path: Path, name: str, arguments: list[str], begin: str
) -> None:
    """A file's ending tells the form, unless it is said."""
    assert graphmesh("graph", "show", "page", "--out", str(tmp_path / name), *arguments) == (0, "", "")
    assert (tmp_path / name).read_text().startswith(begin)


def test_a_file_that_cannot_be_written(graphmesh: Run, control: _Mesh, tmp_path: Path) -> None:
    """The message names the file and the reason."""
    code, _, err = graphmesh("graph", "show", "page", "--out", str(tmp_path / "no" / "g.svg"))
    assert (code, err) == (2, f"graphmesh: {tmp_path}/no/g.svg: cannot be written: No such file or directory\n")


def test_an_ending_that_is_no_form(graphmesh: Run, control: _Mesh, tmp_path: Path) -> None:
    """Nothing is written to a file whose form has to be guessed; `-o` is no file."""
    code, _, err = graphmesh("graph", "show", "page", "--out", str(tmp_path / "g.png"))
    assert (code, "g.png: must end in .svg, .mmd, .mermaid, .txt; or give its form with --as" in err) == (2, True)
    assert graphmesh("graph", "show", "page", "-o", "json")[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_there_is_not(graphmesh: Run, control: _Mesh) -> None:
    """No plan is made up for it; close names are told, or where to look."""
    code, out, err = graphmesh("graph", "explain", "page", "--worker", "w22")
    assert (code, out) == (1, "")
    assert err.startswith("graphmesh: no worker is named 'w22'; did you mean 'w2'")
    assert graphmesh("graph", "explain", "page", "--worker", "nope")[2] == (
        "graphmesh: no worker is named 'nope'; see: graphmesh workers\n"
    )


def test_the_plan(graphmesh: Run, control: _Mesh) -> None:
    """It is that of the worker which the mesh sends calls to, with what crosses the network."""
    code, out, _ = graphmesh("graph", "explain", "page")
    assert code == 0
    assert out == (
        "graph page on w1\n"
        "\n"
        "1  find, read: here, fused\n"
        "   find: runs model find@1\n"
        "   read/small: runs model small@1\n"
        "   read/big: on w2 or w3, through a gateway\n"
        "     calls model big@1\n"
        "     sends find.y: FP32 (8,), 32 B\n"
        + ("     gets  read/big.y: FP32 (8,), 32 B\n" if "read/big.y" in out else "")
        + "\n"
        + out.splitlines()[-1]
        + "\n"
    )
    assert out.splitlines()[-1].startswith("1 step or branch calls over the network")


def test_the_plan_of_another_worker(graphmesh: Run, control: _Mesh) -> None:
    """Any worker can be asked about, for programs as well."""
    plan = json.loads(graphmesh("graph", "explain", "page", "--worker", "w2", "-o", "json")[1])
    assert (plan["graph"], plan["worker"], plan["revision"]) == ("page", "w2", 3)
    assert [(one["steps"], one["fused"]) for one in plan["segments"]] == [(["find"], False), (["read"], True)]
    assert [one["node"] for one in plan["segments"][1]["crossings"]] == ["read/small"]
    assert yaml.safe_load(graphmesh("graph", "explain", "page", "--worker", "w2", "-o", "yaml")[1]) == plan


def _held(used: str) -> list[mesh_service_pb2.HeldVersion]:
    return [mesh_service_pb2.HeldVersion(model="small", version="1", graph="page", used_version=used)]


def test_the_plan_keeps_to_versions(graphmesh: Run, control: _Mesh) -> None:
    """A worker that hosts only a version which is held for the graph is called past, and the version is named."""
    control.hosts["small"] = ["w1", "w4"]
    control.versions["small", "w4"] = "7"
    control.held = _held("7")
    out = graphmesh("graph", "explain", "page")[1]
    assert (
        "   read/small: on w4, through a gateway\n     calls model small@7\n     sends find.y: FP32 (8,), 32 B\n" in out
    )
    plan = json.loads(graphmesh("graph", "explain", "page", "-o", "json")[1])
    assert [(one["target"], one["version"]) for one in plan["segments"][0]["crossings"]] == [
        ("big", "1"),
        ("small", "7"),
    ]


def test_the_plan_of_an_older_revision(graphmesh: Run, control: _Mesh) -> None:
    """What is held for the live revision says nothing of others."""
    control.held = _held("7")
    control.page.live = False
    assert "read/small: runs model small@1\n" in graphmesh("graph", "explain", "page", "--revision", "3")[1]


def test_types_are_those_of_the_versions_that_the_graph_uses(graphmesh: Run, control: _Mesh) -> None:
    """With a newer version held, the graph is typed with the older one, as the contract gate chose it."""
    held = Signature(inputs=(types(x="FP32 (8,)")["x"],), outputs=(types(y="INT64 (8,)")["y"],))
    control.signatures, control.digests = {"small": held}, {"2": held.digest}
    control.hosts["small"], control.versions = ["w1", "w4"], {("small", "w4"): "2"}
    control.held = [mesh_service_pb2.HeldVersion(model="small", version="2", graph="page", used_version="1")]
    assert "     sends find.y: FP32 (8,), 32 B\n" in graphmesh("graph", "explain", "page")[1]
    assert "   read/small: runs model small@1\n" in graphmesh("graph", "explain", "page")[1]
    assert "  x <- find.y: FP32 (8,)\n" in graphmesh("graph", "show", "page")[1]
    (crossing,) = json.loads(graphmesh("graph", "explain", "page", "-o", "json")[1])["segments"][0]["crossings"]
    assert [one["type"] for one in crossing["sends"]] == ["FP32 (8,)"]
    assert [one["type"] for one in crossing["receives"]] == ["FP32 (8,)"]


def test_types_that_nobody_tells_are_not_guessed(graphmesh: Run, control: _Mesh) -> None:
    """A version whose signature is not told is shown as of unknown type."""
    control.held, control.digests = _held("7"), {"7": "0" * 64}
    control.hosts["small"], control.versions = ["w1", "w4"], {("small", "w4"): "7"}
    assert "sends find.y, of unknown type\n" in graphmesh("graph", "explain", "page")[1]


def test_a_graph_that_is_not_ready_says_why(graphmesh: Run, control: _Mesh) -> None:
    """With the edge, as other commands do; how a worker that is named would run it is still told."""
    control.problem, control.hosts["page"] = "edge find.y -> read.x: INT64 (8,) does not fit FP32 (8,)", []
    code, _, err = graphmesh("graph", "explain", "page")
    assert (code, err) == (1, f"graphmesh: graph 'page' is not ready: {control.problem}\n")
    assert graphmesh("graph", "explain", "page", "--worker", "w2")[0] == 0


def test_nobody_can_run_it(graphmesh: Run, control: _Mesh) -> None:
    """Without a worker there is no plan; the message says what to do."""
    control.hosts["page"] = []
    code, _, err = graphmesh("graph", "explain", "page")
    assert code == 1
    assert "no worker can run graph 'page' now; name one with --worker" in err


@pytest.mark.parametrize("what", ["show", "explain"])
def test_there_is_no_such_graph(graphmesh: Run, control: _Mesh, what: str) -> None:
    """The mesh's own refusal is shown."""
    assert graphmesh("graph", what, "other")[2] == "graphmesh: no graph 'other'\n"
