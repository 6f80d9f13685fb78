"""Stubs that users generate from our .proto file, and tools that find it by reflection."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

if TYPE_CHECKING:
    from tests.contract.conftest import Target

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]

PROTOS = Path(__file__).parents[2] / "protos"
USER_PROGRAM = """
import sys, grpc, numpy, open_inference_pb2 as pb, open_inference_pb2_grpc as rpc
address, model = sys.argv[1:]
stub = rpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))
request = pb.ModelInferRequest(model_name=model)
request.inputs.add(name="x", datatype="FP32", shape=[2], contents=pb.InferTensorContents(fp32_contents=[1, 2]))
answer = stub.ModelInfer(request, timeout=10)
ready = {one.name for one in stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models}
print(answer.model_name, numpy.frombuffer(answer.raw_output_contents[0], numpy.float32).tolist(), model in ready)
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user generates from our .proto file with grpcio-tools, in a process of its own."""
    folder = tmp_path_factory.mktemp("generated")
    options = [f"-I{PROTOS / 'inference'}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, "open_inference.proto"], check=True)
    return folder


@pytest.mark.parametrize(("model", "expected"), [("add", "[2.0, 3.0]"), ("chain", "[3.0, 4.0]")])
def test_a_stub_that_the_user_generated(target: Target, generated: Path, model: str, expected: str) -> None:
    """A program with a stub generated from our .proto calls model and graph; it needs nothing of graphmesh."""
    command = [sys.executable, "-c", USER_PROGRAM, target.grpc, model]
    done = subprocess.run(command, cwd=generated, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == f"{model} {expected} True"


def test_reflection_lists_the_services(target: Target) -> None:
    """A generic tool finds the services by reflection."""
    reflection = importlib.import_module("grpc_reflection.v1alpha.reflection_pb2")
    stubs = importlib.import_module("grpc_reflection.v1alpha.reflection_pb2_grpc")
    with grpc.insecure_channel(target.grpc) as channel:
        stub = stubs.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(iter([reflection.ServerReflectionRequest(list_services="")]), timeout=10)
        names = {service.name for service in next(iter(answers)).list_services_response.service}
    expected = {"inference.GRPCInferenceService", "graphmesh.v1.InferenceService"}
    own = set() if target.direct else {"graphmesh.v1.GraphService", "graphmesh.v1.MeshService"}
    assert expected | own <= names
