"""GraphService through a real gateway, by gRPC and REST."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from graphmesh.v1 import graph_pb2, graph_service_pb2, graph_service_pb2_grpc
from tests.gateway.harness import http, request_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.harness import GatewayProcess

pytestmark = [pytest.mark.etcd, pytest.mark.e2e]


@pytest.fixture(autouse=True)
def _no_graph_left(served: GatewayProcess) -> Iterator[None]:
    """Delete what the test has applied: the mesh is everybody's."""
    yield
    for one in http(f"{served.url}/v1/graphs").json.get("graphs", []):
        http(f"{served.url}/v1/graphs/{one['graph']['name']}?force=true", method="DELETE")


def chain(*models: str, description: str = "") -> dict[str, Any]:
    """Return a graph that calls models one after the other, as JSON."""
    nodes, source = [], "x"
    for index, model in enumerate(models):
        nodes.append({"name": f"n{index}", "inputs": [{"name": "x", "source": source}], "model": {"name": model}})
        source = f"n{index}.y"
    return {
        "description": description,
        "inputs": [{"name": "x"}],
        "nodes": nodes,
        "outputs": [{"name": "y", "source": source}],
    }


def put(gateway: GatewayProcess, name: str, graph: dict[str, Any], *, query: str = "") -> Any:  # noqa: ANN401
    """Apply a graph by REST."""
    return http(f"{gateway.url}/v1/graphs/{name}{query}", body=json.dumps(graph).encode(), method="PUT")


def test_a_graphs_life(served: GatewayProcess) -> None:
    """Applied, listed, called by its name, replaced, read by revision, deleted."""
    first = put(served, "life", chain("add", "add"))
    assert (first.status, first.json["revision"]) == (200, "1")
    assert first.json["signature"]["inputs"][0]["datatype"] == "UINT8"
    assert put(served, "life", chain("add", "add")).json["revision"] == "1"
    second = put(served, "life", chain("add", description="shorter"), query=f"?etag={first.json['etag']}")
    assert second.json["revision"] == "2"
    stale = put(served, "life", chain("only-one"), query=f"?etag={first.json['etag']}")
    assert (stale.status, stale.json["status"]) == (409, "ABORTED")

    assert "life" in [one["graph"]["name"] for one in http(f"{served.url}/v1/graphs").json["graphs"]]
    assert http(f"{served.url}/v1/graphs/life").json["graph"]["description"] == "shorter"
    assert http(f"{served.url}/v1/graphs/life?revision=1").json["revision"] == "1"
    assert [one["revision"] for one in http(f"{served.url}/v1/graphs/life/revisions").json["revisions"]] == ["1", "2"]
    model = http(f"{served.url}/v1/models/life").json
    assert model["graph"]
    assert {one["worker_id"] for one in model["replicas"]} == {"w1", "w2"}

    seen = json.loads(served.infer(request_for("life", id="echo-headers")).parameters["headers"].string_param)
    assert seen["x-graphmesh-graph-revision"] == "2"
    old = request_for("life", id="echo-headers", version="1")
    seen = json.loads(served.infer(old).parameters["headers"].string_param)
    assert seen["x-graphmesh-graph-revision"] == "1"
    answer = http(f"{served.url}/v1/models/life:predict", body=b"{}")
    assert answer.json["headers"]["x-graphmesh-graph-revision"] == "2"

    assert http(f"{served.url}/v1/graphs/life", method="DELETE").status == 200
    assert http(f"{served.url}/v1/graphs/life").status == 404


def rollback(gateway: GatewayProcess, name: str, **fields: object) -> Any:  # noqa: ANN401
    """Roll a graph back by REST."""
    return http(f"{gateway.url}/v1/graphs/{name}:rollback", body=json.dumps(fields).encode())


def test_rollback_goes_further_back_each_time(served: GatewayProcess) -> None:
    """One rollback after the other leads to what each revision replaced, never to one that was left that way."""
    for number in (1, 2, 3):
        assert put(served, "back", chain("add", description=str(number))).json["revision"] == str(number)
    for expected in ("2", "1"):
        answer = rollback(served, "back")
        assert (answer.status, answer.json["revision"], answer.json["live"]) == (200, expected, True)
        seen = json.loads(served.infer(request_for("back", id="echo-headers")).parameters["headers"].string_param)
        assert seen["x-graphmesh-graph-revision"] == expected
    refused = rollback(served, "back")
    assert (refused.status, refused.json["status"]) == (400, "FAILED_PRECONDITION")
    assert "revision 1 replaced none" in refused.json["error"]
    fourth = put(served, "back", chain("add", description="4")).json
    assert (fourth["revision"], fourth["replaces"]) == ("4", "1")
    assert rollback(served, "back").json["revision"] == "1"
    assert rollback(served, "back", revision=3).json["revision"] == "3"
    listed = http(f"{served.url}/v1/graphs/back/revisions").json["revisions"]
    assert [(one["revision"], one.get("live", False)) for one in listed] == [
        ("1", False),
        ("2", False),
        ("3", True),
        ("4", False),
    ]


def test_rollbacks_that_are_refused(served: GatewayProcess) -> None:
    """A stale etag, an unknown revision or graph, and a revision that does not work any more: nothing has moved."""
    first = put(served, "stay", chain("add"))
    second = put(served, "stay", chain("only-one"))
    for fields, status, words in (
        ({"etag": first.json["etag"]}, "ABORTED", "must still have etag"),
        ({"revision": 9}, "NOT_FOUND", "no readable revision 9"),
    ):
        answer = rollback(served, "stay", **fields)
        assert (answer.json["status"], words in answer.json["error"]) == (status, True), answer.json
    assert rollback(served, "nope").json["status"] == "NOT_FOUND"
    assert http(f"{served.url}/v1/graphs/stay").json["etag"] == second.json["etag"]
    answer = rollback(served, "stay", etag=second.json["etag"])
    assert answer.json["revision"] == "1"


def test_a_graph_that_others_call_keeps_its_contract(served: GatewayProcess) -> None:
    """A revision that would break a live graph is refused with that graph's edge, as a version would be held."""
    put(served, "inner", chain("add"))
    outer = chain("add")
    outer["nodes"].append({"name": "last", "inputs": [{"name": "x", "source": "n0.y"}], "graph": {"name": "inner"}})
    outer["outputs"] = [{"name": "y", "source": "last.y"}]
    assert put(served, "outer", outer).status == 200
    changed = chain("add")
    changed["outputs"] = [{"name": "other", "source": "n0.y"}]
    refused = put(served, "inner", changed)
    assert (refused.status, refused.json["status"]) == (400, "INVALID_ARGUMENT")
    assert "graph outer calls inner and would break" in refused.json["error"]
    kept = http(f"{served.url}/v1/graphs/inner", method="DELETE")
    assert (kept.status, kept.json["status"]) == (400, "FAILED_PRECONDITION")
    assert "graph 'inner' is called by outer" in kept.json["error"]
    assert http(f"{served.url}/v1/graphs/inner?force=true", method="DELETE").status == 200
    again = put(served, "inner", changed)
    assert (again.status, "graph outer calls inner and would break" in again.json["error"]) == (400, True)


def test_advice_of_a_mesh(served: GatewayProcess) -> None:
    """What one move would save, where the graph runs, and how many calls it makes."""
    put(served, "spread", chain("add", "only-one", "add"))
    answer = http(f"{served.url}/v1/graphs/spread:advise").json
    assert (answer["revision"], answer["workers"], answer["calls"]) == ("1", ["w1"], 3)
    assert answer["moves"] == []
    assert http(f"{served.url}/v1/graphs/nope:advise").status == 404


def test_plain_models_carry_no_revision(served: GatewayProcess) -> None:
    """Only graphs are stamped."""
    seen = json.loads(served.infer(request_for(id="echo-headers")).parameters["headers"].string_param)
    assert "x-graphmesh-graph-revision" not in seen


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (chain("ad"), "no model 'ad'"),
        (chain(), "must have a node"),
        ({**chain("add"), "outputs": [{"name": "y", "source": "n0.z"}]}, "n0"),
    ],
)
def test_graphs_that_cannot_work_are_refused(served: GatewayProcess, graph: dict[str, Any], words: str) -> None:
    """Validation refuses with the node or edge, and nothing is stored."""
    answer = put(served, "broken", graph)
    assert (answer.status, answer.json["status"]) == (400, "INVALID_ARGUMENT")
    assert words in answer.json["error"]
    assert answer.json["details"][0]["reason"] == "INVALID_GRAPH"
    assert http(f"{served.url}/v1/graphs/broken").status == 404
    answer = http(f"{served.url}/v1/graphs:validate", body=json.dumps({**graph, "name": "broken"}).encode())
    assert words in answer.json["error"]


def test_a_models_name_is_taken(served: GatewayProcess) -> None:
    """Models and graphs share one namespace."""
    answer = put(served, "add", chain("only-one"))
    assert (answer.status, answer.json["status"]) == (409, "ALREADY_EXISTS")


@pytest.mark.parametrize(
    "body",
    [
        b"{nope",
        b"\xff\xfe",
        b"[]",
        b'{"nodes": ' + b"[" * 10_000,
        b'{"nodes": ' + b'[{"map":' * 10_000,
        b'{"inputs": [{"name": "\\ud800"}]}',
        b'{"description": 1e999}',
        b'{"nothing": 1}',
    ],
)
def test_malformed_json_is_refused(served: GatewayProcess, body: bytes) -> None:
    """Whatever JSON comes, the answer is 400 with a JSON error, and Envoy lives."""
    pid = served.envoy_pid
    answer = http(f"{served.url}/v1/graphs/x", body=body, method="PUT")
    assert (answer.status, answer.json["status"]) == (400, "INVALID_ARGUMENT")
    assert served.envoy_pid == pid


def test_errors_are_rich_by_grpc(served: GatewayProcess) -> None:
    """A gRPC error carries its reason as ErrorInfo; a request that does not parse is INVALID_ARGUMENT, not UNKNOWN."""
    with served.channel() as channel:
        stub = graph_service_pb2_grpc.GraphServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ApplyGraph(graph_service_pb2.ApplyGraphRequest(graph=graph_pb2.Graph(name="A")), timeout=5)
        info = error_details_pb2.ErrorInfo()
        assert rpc_status.from_call(caught.value).details[0].Unpack(info)
        assert info.domain == "graphmesh"
        for method in ("/graphmesh.v1.GraphService/GetGraph", "/inference.GRPCInferenceService/ModelStreamInfer"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"\xff\xff", timeout=5)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_reflection_lists_all_services(served: GatewayProcess) -> None:
    """Reflection shows every service and describes the Open Inference Protocol's, whose pool is private."""
    with served.channel() as channel:
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
        ]
        listed, described = ask(iter(requests), timeout=5)
    assert {"inference.GRPCInferenceService", "graphmesh.v1.GraphService", "graphmesh.v1.InferenceService"} <= {
        service.name for service in listed.list_services_response.service
    }
    assert described.file_descriptor_response.file_descriptor_proto
