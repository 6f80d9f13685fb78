"""The clients people already have, calling a model and a graph through the gateway."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from tests.e2e.running import MODELS, RunningMesh

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

PROTOS = Path(__file__).parents[2] / "protos"
MESH = f"""
workers:
  - name: left
    models:
      - {{name: add, source: "{MODELS}:Add"}}
      - {{name: greet, source: "{MODELS}:Greet"}}
  - name: right
    models:
      - {{name: add-ten, source: "{MODELS}:Add", parameters: {{amount: 10}}}}
graphs: [chain.yaml]
"""
CHAIN = """
name: chain
inputs: [{name: x}]
nodes:
  - {name: one, model: add, inputs: {x: x}}
  - {name: ten, model: add-ten, inputs: {x: one.y}}
outputs: {y: ten.y}
"""


@pytest.fixture(scope="module")
def mesh(start: Callable[..., RunningMesh], tmp_path_factory: pytest.TempPathFactory) -> RunningMesh:
    """Two workers and a graph over both."""
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "chain.yaml").write_text(CHAIN)
    return start(MESH.replace("chain.yaml", str(folder / "chain.yaml")))


@pytest.mark.parametrize(("model", "added"), [("add", 1), ("chain", 11)])
def test_tritonclient_grpc(mesh: RunningMesh, model: str, added: float) -> None:
    """tritonclient.grpc sees a live server, a ready model with metadata, and calls model and graph alike."""
    with tritonclient.grpc.InferenceServerClient(mesh.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert client.get_server_metadata().name == "graphmesh"
        metadata = client.get_model_metadata(model)
        assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("x", "FP32", [-1])]
        x = tritonclient.grpc.InferInput("x", [3], "FP32").set_data_from_numpy(np.array([1, 2, 3], np.float32))
        result = client.infer(model, [x], request_id="r-1")
        assert result.as_numpy("y").tolist() == [1 + added, 2 + added, 3 + added]
        assert result.get_response().id == "r-1"


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_tritonclient_grpc_compressed(mesh: RunningMesh, compression: str) -> None:
    """Compressed requests work."""
    with tritonclient.grpc.InferenceServerClient(mesh.address) as client:
        x = tritonclient.grpc.InferInput("x", [3], "FP32").set_data_from_numpy(np.zeros(3, np.float32))
        assert client.infer("add", [x], compression_algorithm=compression).as_numpy("y").tolist() == [1, 1, 1]


@pytest.mark.parametrize(("model", "added"), [("add", 1), ("chain", 11)])
@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_http(mesh: RunningMesh, model: str, added: float, *, binary: bool) -> None:
    """tritonclient.http calls model and graph, with binary tensors and with JSON."""
    with tritonclient.http.InferenceServerClient(mesh.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert client.get_server_metadata()["name"] == "graphmesh"
        assert client.get_model_metadata(model)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1]}]
        x = tritonclient.http.InferInput("x", [2], "FP32")
        x.set_data_from_numpy(np.array([1, 2], np.float32), binary_data=binary)
        outputs = [tritonclient.http.InferRequestedOutput("y", binary_data=binary)]
        assert client.infer(model, [x], outputs=outputs).as_numpy("y").tolist() == [1 + added, 2 + added]


def test_tritonclient_stream(mesh: RunningMesh) -> None:
    """Several requests over one ModelStreamInfer are answered in order."""
    answers: list[Any] = []
    with tritonclient.grpc.InferenceServerClient(mesh.address) as client:
        client.start_stream(lambda result, error: answers.append(error or result.as_numpy("y").tolist()))
        for value in range(3):
            x = tritonclient.grpc.InferInput("x", [1], "FP32").set_data_from_numpy(np.array([value], np.float32))
            client.async_stream_infer("add", [x])
        client.stop_stream()
    assert answers == [[1], [2], [3]]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - generated modules
    """What a user generates from our .proto file with grpcio-tools, in a process of its own."""
    folder = tmp_path_factory.mktemp("generated")
    options = [f"-I{PROTOS / 'inference'}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, "open_inference.proto"], check=True)
    return folder


USER_PROGRAM = """
import sys, grpc, numpy, open_inference_pb2 as pb, open_inference_pb2_grpc as rpc
address, model = sys.argv[1:]
request = pb.ModelInferRequest(model_name=model)
request.inputs.add(name="x", datatype="FP32", shape=[2], contents=pb.InferTensorContents(fp32_contents=[1, 2]))
answer = rpc.GRPCInferenceServiceStub(grpc.insecure_channel(address)).ModelInfer(request, timeout=10)
print(answer.model_name, numpy.frombuffer(answer.raw_output_contents[0], numpy.float32).tolist())
"""


@pytest.mark.parametrize(("model", "expected"), [("add", "add [2.0, 3.0]"), ("chain", "chain [12.0, 13.0]")])
def test_a_stub_that_the_user_generated(mesh: RunningMesh, generated: Path, model: str, expected: str) -> None:
    """A program with a stub generated from our .proto calls model and graph; it needs nothing of graphmesh."""
    command = [sys.executable, "-c", USER_PROGRAM, mesh.address, model]
    done = subprocess.run(command, cwd=generated, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == expected


def test_messages_of_64_mib_pass_both_ways(mesh: RunningMesh) -> None:
    """A tensor of 64 MiB less its envelope goes through gateway and worker and comes back."""
    size = (64 << 20) // 4 - 256
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with tritonclient.grpc.InferenceServerClient(mesh.address, channel_args=options) as client:
        x = tritonclient.grpc.InferInput("x", [size], "FP32").set_data_from_numpy(np.ones(size, np.float32))
        y = client.infer("add", [x], client_timeout=60).as_numpy("y")
    assert y.shape == (size,)
    assert float(y.min()) == float(y.max()) == 2.0


def test_reflection_lists_the_services(mesh: RunningMesh) -> None:
    """A generic tool finds the services by reflection at the gateway."""
    reflection = importlib.import_module("grpc_reflection.v1alpha.reflection_pb2")
    stubs = importlib.import_module("grpc_reflection.v1alpha.reflection_pb2_grpc")
    with grpc.insecure_channel(mesh.address) as channel:
        stub = stubs.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(iter([reflection.ServerReflectionRequest(list_services="")]), timeout=10)
        names = {service.name for service in next(iter(answers)).list_services_response.service}
    assert {"inference.GRPCInferenceService", "graphmesh.v1.GraphService", "graphmesh.v1.MeshService"} <= names


def test_explain_tells_fused_from_remote(mesh: RunningMesh) -> None:
    """The answer itself says which node ran where: one on the executing worker, one on the other."""
    done = mesh.graphmesh("infer", "chain", "x=[1]", "--explain", "-o", "json")
    nodes = {node["node"]: node for node in json.loads(done.stdout)["explain"]["nodes"]}
    assert {nodes["one"]["fused"], nodes["ten"]["fused"]} == {True, False}
    assert {nodes["one"]["worker"], nodes["ten"]["worker"]} == {"left-1", "right-1"}
    assert all(node["duration_ms"] > 0 for node in nodes.values())
