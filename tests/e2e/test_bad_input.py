"""Bad input gets a clear error with a precise code, over gRPC and REST, and loses nothing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_status import rpc_status

from graphmesh.cli.http import get, post
from graphmesh.oip import open_inference_pb2 as oip
from graphmesh.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.e2e.running import MODELS, RunningMesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def mesh(start: Callable[..., RunningMesh], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """One worker with good models, one that raises, and one whose file is corrupt; it still serves after every test."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "corrupt.onnx").write_bytes(b"\x08\x07this is no model")
    mesh = start(f"""
workers:
  - name: only
    models:
      - {{name: add, source: "{MODELS}:Add"}}
      - {{name: greet, source: "{MODELS}:Greet"}}
      - {{name: broken, source: "{MODELS}:Broken"}}
      - {{name: slow, source: "{MODELS}:Slow", parameters: {{pause_s: 5.0}}}}
      - {{name: corrupt, source: "{folder / "corrupt.onnx"}"}}
""")
    yield mesh
    good = post(f"http://{mesh.address}/v1/models/add:predict", b'{"x": [1]}')
    assert json.loads(good.body)["outputs"] == {"y": [2.0]}


def tensor(name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (2,), raw: bytes = bytes(8)) -> Any:  # noqa: ANN401
    """Return a request for `add` with one tensor."""
    request = oip.ModelInferRequest(model_name="add")
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw)
    return request


def named(model: str) -> Any:  # noqa: ANN401
    """Return a good request for another model."""
    request = tensor()
    request.model_name = model
    return request


def refusal(mesh: RunningMesh, request: Any, *, compression: grpc.Compression | None = None) -> grpc.RpcError:  # noqa: ANN401
    """Return the error that a request gets; a compressed one takes the plain gRPC path instead of the fast one."""
    with grpc.insecure_channel(mesh.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10, compression=compression)
        return caught.value


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["fast", "plain"])
@pytest.mark.parametrize(
    ("build", "code", "text"),
    [
        (lambda: named("ad"), "NOT_FOUND", "add"),
        (lambda: named("nothing-like-it"), "NOT_FOUND", "nothing-like-it"),
        (lambda: named("a\r\nb"), "INVALID_ARGUMENT", "must match"),
        (lambda: named("../etc"), "INVALID_ARGUMENT", "must match"),
        (lambda: named(""), "INVALID_ARGUMENT", "must match"),
        (lambda: named("corrupt"), "UNAVAILABLE", "corrupt.onnx"),
        (lambda: named("broken"), "INTERNAL", ""),
        (lambda: tensor(name="z"), "INVALID_ARGUMENT", "no input is named 'z'"),
        (lambda: tensor(datatype="FP64", raw=bytes(16)), "INVALID_ARGUMENT", "must be FP32"),
        (lambda: tensor(datatype="FLOAT"), "INVALID_ARGUMENT", "datatype must be one of"),
        (lambda: tensor(shape=(1, 2)), "INVALID_ARGUMENT", "got 2 dimensions"),
        (lambda: tensor(shape=(-2,)), "INVALID_ARGUMENT", "must not be negative"),
        (lambda: tensor(shape=(2**62, 2**62)), "INVALID_ARGUMENT", "bytes, got 8"),
        (lambda: tensor(raw=bytes(7)), "INVALID_ARGUMENT", "takes 8 bytes, got 7"),
    ],
)
def test_grpc(
    mesh: RunningMesh, build: Callable[[], Any], code: str, text: str, compression: grpc.Compression | None
) -> None:
    """Each lie gets its code, a message that names it, and details for programs, on both paths through the gateway."""
    error = refusal(mesh, build(), compression=compression)
    assert error.code().name == code, error
    assert text in error.details()
    assert "secret" not in error.details()
    status = rpc_status.from_call(error)
    if status is not None:
        assert status.code == error.code().value[0]
        assert status.message == error.details()


def test_close_names_are_listed(mesh: RunningMesh) -> None:
    """A misspelt model finds what was meant, over gRPC and REST."""
    assert "greet" in refusal(mesh, named("gret")).details()
    answer = get(f"http://{mesh.address}/v2/models/gret")
    assert answer.status == 404
    assert "greet" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v1/models/ad:predict", b'{"x": [1]}', 404, "add"),
        ("/v2/models/ad/infer", b"{}", 404, "add"),
        ("/v1/models/A%0d%0aB:predict", b'{"x": [1]}', 400, "must match"),
        ("/v1/models/..%2fetc:predict", b'{"x": [1]}', 400, "path_normalization_failed"),
        ("/v1/models/corrupt:predict", b'{"x": [1]}', 503, "corrupt.onnx"),
        ("/v1/models/add:predict", b'{"z": [1]}', 400, "no input is named 'z'"),
        ("/v1/models/add:predict", b"{}", 400, "'x' is missing"),
        ("/v1/models/add:predict", b'{"x": ["a"]}', 400, "x"),
        ("/v1/models/add:predict", b'{"x": [[1], [2, 3]]}', 400, "x"),
        ("/v1/models/add:predict", b"{not json", 400, "JSON"),
        ("/v1/models/add:predict", b"", 400, "JSON"),
        ("/v1/models/add:predict", b"[" * 10_000 + b"]" * 10_000, 400, "JSON"),
        ("/v1/models/add:predict", b'{"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400, ""),
        ("/v2/models/add/infer", b"{not json", 400, "JSON"),
        ("/v2/models/add/infer", b'{"inputs": [{"name": "x"}]}', 400, ""),
        ("/v1/models/add/versions/9:predict", b'{"x": [1]}', 404, ""),
        ("/v1/models/greet:predict", b'{"name": ""}', 400, "name must not be empty"),
        ("/v1/models/broken:predict", b'{"x": [1]}', 500, ""),
        ("/nowhere", b"{}", 404, ""),
    ],
)
def test_rest(mesh: RunningMesh, path: str, body: bytes, status: int, text: str) -> None:
    """Each gets its HTTP status and a JSON body of the one shape."""
    answer = post(f"http://{mesh.address}{path}", body)
    document = json.loads(answer.body)
    assert answer.status == status, document
    assert text in document["error"]
    assert document["code"] != 0
    assert document["status"].isupper()
    assert "secret" not in answer.body.decode()


def graph_file(folder: Path, *nodes: str, output: str = "a.y") -> str:
    """Write a graph and return its path."""
    path = folder / "bad.yaml"
    inputs = "name: bad\ninputs: [{name: x}]\nnodes:\n"
    path.write_text(inputs + "".join(f"  - {node}\n" for node in nodes) + f"outputs: {{y: {output}}}\n")
    return str(path)


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        (["{name: a, model: add, inputs: {x: b.y}}", "{name: b, model: add, inputs: {x: a.y}}"], "cycle"),
        (["{name: a, model: nope, inputs: {x: x}}"], "nope"),
        (["{name: a, model: add, inputs: {}}"], "'x'"),
        (
            ["{name: a, model: add, inputs: {x: g.greeting}}", "{name: g, model: greet, inputs: {name: x}}"],
            "g.greeting",
        ),
    ],
)
def test_graphs(mesh: RunningMesh, tmp_path: Path, nodes: list[str], text: str) -> None:
    """A graph that cannot work is refused at apply, with the cycle, name, input or edge in the message."""
    refused = mesh.graphmesh("graph", "apply", graph_file(tmp_path, *nodes), check=False)
    assert refused.returncode == 2, refused.stderr
    assert text in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_graph_may_not_take_a_models_name(mesh: RunningMesh, tmp_path: Path) -> None:
    """Models and graphs share one namespace."""
    path = graph_file(tmp_path, "{name: a, model: add, inputs: {x: x}}")
    (tmp_path / "bad.yaml").write_text((tmp_path / "bad.yaml").read_text().replace("name: bad", "name: greet"))
    refused = mesh.graphmesh("graph", "apply", path, check=False)
    assert refused.returncode == 1
    assert "greet" in refused.stderr


def test_the_failed_model_is_shown(mesh: RunningMesh) -> None:
    """`models` and `doctor` say which file is corrupt; the worker stays up."""
    assert "corrupt.onnx" in mesh.graphmesh("models").stdout
    found = mesh.graphmesh("doctor", check=False)
    assert found.returncode == 1
    assert "corrupt.onnx" in found.stdout


def test_a_deadline_is_kept(mesh: RunningMesh) -> None:
    """A call whose time is over before the model is done ends as DEADLINE_EXCEEDED, then and not later."""
    began = time.monotonic()
    with grpc.insecure_channel(mesh.address) as channel, pytest.raises(grpc.RpcError) as caught:
        GRPCInferenceServiceStub(channel).ModelInfer(named("slow"), timeout=0.2)
    assert time.monotonic() - began < 2
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
