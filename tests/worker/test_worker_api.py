"""What a worker answers, the same over every shell: fast path, natural JSON, OIP JSON, gRPC."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

import grpc
import grpc.aio
import numpy as np
import orjson
import pytest
from google.rpc import error_details_pb2, status_pb2

from graphmesh.core.errors import Code, GraphmeshError, from_code
from graphmesh.core.inference import InferenceRequest
from graphmesh.core.tensor import BYTES, DTYPES, Tensor, datatype_of
from graphmesh.worker.forms.wire import encode_request, response_from_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from graphmesh.worker.worker import Worker

    Inputs = Mapping[str, Tensor]
    Http = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


class Shell(Protocol):
    """One way to call a worker."""

    async def __call__(self, worker: Worker, request: InferenceRequest, timeout_s: float | None = None) -> Inputs:
        """Return the outputs, or raise the GraphmeshError of the answer's code."""
        ...


def _info(status: bytes) -> error_details_pb2.ErrorInfo:
    message = status_pb2.Status.FromString(status)
    info = error_details_pb2.ErrorInfo()
    assert message.details[0].Unpack(info)
    return info


class FastPath:
    """Protobuf over HTTP."""

    def __init__(self, http: Http) -> None:
        self.http = http

    async def __call__(self, worker: Worker, request: InferenceRequest, timeout_s: float | None = None) -> Inputs:
        """Call."""
        headers = {} if timeout_s is None else {"grpc-timeout": f"{int(timeout_s * 1000)}m"}
        reply = await self.http(worker.http_port, MODEL_INFER, encode_request(request), headers=headers)
        assert reply.status == 200
        if "grpc-status" not in reply.headers:
            return response_from_wire(reply.body).outputs
        assert reply.body == b""
        assert reply.headers["content-length"] == "0"
        details = reply.headers["grpc-status-details-bin"]
        assert _info(base64.b64decode(details + "=" * (-len(details) % 4))).domain == "graphmesh"
        raise from_code(int(reply.headers["grpc-status"]), unquote(reply.headers["grpc-message"]))


class Grpc:
    """Plain gRPC."""

    async def __call__(self, worker: Worker, request: InferenceRequest, timeout_s: float | None = None) -> Inputs:
        """Call."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.grpc_port}") as channel:
            try:
                answer = await channel.unary_unary(MODEL_INFER)(encode_request(request), timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                if timeout_s is None:
                    trailers = dict(error.trailing_metadata() or ())
                    assert _info(trailers["grpc-status-details-bin"]).domain == "graphmesh"
                raise from_code(error.code().value[0], error.details() or "") from error
            return response_from_wire(answer).outputs


class OipJson:
    """The Open Inference Protocol's JSON."""

    def __init__(self, http: Http) -> None:
        self.http = http

    async def __call__(self, worker: Worker, request: InferenceRequest, timeout_s: float | None = None) -> Inputs:
        """Call."""
        inputs = [
            {"name": name, "datatype": datatype_of(a), "shape": a.shape, "data": _flat(a)}
            for name, a in request.inputs.items()
        ]
        version = f"/versions/{request.version}" if request.version else ""
        body = orjson.dumps({"inputs": inputs, "outputs": [{"name": name} for name in request.outputs]})
        answer = await _json(self.http, worker, f"/v2/models/{request.model}{version}/infer", body, timeout_s)
        return {o["name"]: _array(o["datatype"], o["data"]).reshape(o["shape"]) for o in answer["outputs"]}


class Natural:
    """Natural JSON; datatypes come from the model's metadata."""

    def __init__(self, http: Http) -> None:
        self.http = http

    async def __call__(self, worker: Worker, request: InferenceRequest, timeout_s: float | None = None) -> Inputs:
        """Call."""
        body = orjson.dumps({name: _nested(a) for name, a in request.inputs.items()})
        version = f"/versions/{request.version}" if request.version else ""
        path = f"/v1/models/{request.model}{version}:predict"
        answer = await _json(self.http, worker, path, body, timeout_s)
        metadata = await self.http(worker.http_port, f"/v2/models/{request.model}")
        datatypes = {o["name"]: o["datatype"] for o in metadata.json["outputs"]}
        return {name: _array(datatypes[name], value) for name, value in answer["outputs"].items()}


async def _json(http: Http, worker: Worker, path: str, body: bytes, timeout_s: float | None) -> dict[str, Any]:
    headers = {} if timeout_s is None else {"x-graphmesh-timeout-ms": str(timeout_s * 1000)}
    reply = await http(worker.http_port, path, body, headers=headers)
    answer: dict[str, Any] = reply.json
    if reply.status != 200:
        assert reply.headers["content-type"] == "application/json"
        assert answer["status"] == Code(answer["code"]).name
        assert answer["details"][0]["domain"] == "graphmesh"
        assert reply.status == Code(answer["code"]).http_status
        raise from_code(answer["code"], answer["error"])
    return answer


def _flat(array: Tensor) -> list[Any]:
    values = array.reshape(-1).tolist()
    return [v.decode() if isinstance(v, bytes) else v for v in values]


def _nested(array: Tensor) -> object:
    value = array.tolist()
    if array.dtype != object:
        return value
    return [v.decode() for v in value] if isinstance(value, list) else value.decode()


def _element(value: Any) -> bytes:  # noqa: ANN401
    return value.encode() if isinstance(value, str) else base64.b64decode(value["b64"])


def _array(datatype: str, value: object) -> Tensor:
    if datatype != BYTES:
        return np.array(value, dtype=DTYPES[datatype])
    if isinstance(value, list):
        array = np.empty(len(value), dtype=object)
        array[:] = [_element(v) for v in value]
        return array
    scalar = np.empty((), dtype=object)
    scalar[()] = _element(value)
    return scalar


@pytest.fixture(params=["fast", "grpc", "oip", "natural"])
def shell(request: pytest.FixtureRequest, http: Http) -> Shell:
    """Every shell in turn."""
    shells: dict[str, Shell] = {"fast": FastPath(http), "grpc": Grpc(), "oip": OipJson(http), "natural": Natural(http)}
    return shells[request.param]


def _floats(*values: float) -> Tensor:
    return np.array(values, dtype=np.float32)


def _text(*values: str) -> Tensor:
    array = np.empty(len(values), dtype=object)
    array[:] = [value.encode() for value in values]
    return array


def _scalar(value: object, dtype: str) -> Tensor:
    return np.array(value, dtype=dtype)


def _request(model: str, version: str = "", **inputs: Tensor) -> InferenceRequest:
    return InferenceRequest(model=model, version=version, inputs=inputs)


@pytest.mark.parametrize("model", ["add", "addsync"])
async def test_numbers_go_in_and_come_out(worker: Worker, shell: Shell, model: str) -> None:
    """A model gets its inputs and its outputs come back, whether it runs on the loop or on a thread."""
    outputs = await shell(worker, _request(model, "1", x=_floats(1, 2.5)))
    assert list(outputs) == ["y"]
    assert outputs["y"].dtype == np.float32
    assert outputs["y"].tolist() == [2.0, 3.5]


async def test_highest_version_answers(worker: Worker, shell: Shell) -> None:
    """A call without a version goes to the highest one, a call with one to that."""
    assert (await shell(worker, _request("add", x=_floats(1))))["y"].tolist() == [3.0]
    assert (await shell(worker, _request("add", "1", x=_floats(1))))["y"].tolist() == [2.0]


async def test_empty_tensor(worker: Worker, shell: Shell) -> None:
    """A tensor with no elements is a tensor."""
    assert (await shell(worker, _request("add", x=_floats())))["y"].shape == (0,)


async def test_text(worker: Worker, shell: Shell) -> None:
    """Text arrives as str and goes back as UTF-8."""
    outputs = await shell(worker, _request("upper", text=_scalar("né".encode(), "O")))
    assert outputs["output"].item() == "NÉ".encode()
    outputs = await shell(worker, _request("words", lines=_text("a bé", "c")))
    assert outputs["output"].tolist() == [b"a", "bé".encode(), b"c"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (_request("add", "1", z=_floats(1)), "no input is named 'z'"),
        (_request("add", "1"), "input 'x' is missing"),
        (_request("add", "1", x=np.zeros((1, 1), dtype=np.float32)), "FP32 (N,)"),
        (_request("add", "1", x=_scalar(1.0, "f4")), "FP32 (N,)"),
        (_request("sleep", seconds=_floats(1)), "FP64 ()"),
    ],
)
async def test_wrong_inputs_are_named(worker: Worker, shell: Shell, request_: InferenceRequest, said: str) -> None:
    """A wrong name, a missing input, a wrong rank: INVALID_ARGUMENT that says what was expected."""
    with pytest.raises(GraphmeshError) as caught:
        await shell(worker, request_)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert said in caught.value.message


@pytest.mark.parametrize("name", ["ad", "nothing-like-it", "a" * 128])
async def test_unknown_model(worker: Worker, shell: Shell, name: str) -> None:
    """An unknown name is NOT_FOUND, with close names if there are any."""
    with pytest.raises(GraphmeshError) as caught:
        await shell(worker, _request(name, x=_floats(1)))
    assert caught.value.code is Code.NOT_FOUND
    assert ("add" in caught.value.message) == (name == "ad")


@pytest.mark.parametrize("name", ["UPPER", "a b", "..", "-x", "a" * 129, "a;b", "é"])
async def test_hostile_model_name(worker: Worker, http: Http, name: str) -> None:
    """A name that nobody can have is INVALID_ARGUMENT or no route, never an internal error."""
    with pytest.raises(GraphmeshError) as caught:
        await Grpc()(worker, _request(name, x=_floats(1)))
    assert caught.value.code is Code.INVALID_ARGUMENT
    quoted = "".join(f"%{byte:02x}" for byte in name.encode())
    for path in (f"/v1/models/{quoted}:predict", f"/v2/models/{quoted}/infer"):
        assert (await http(worker.http_port, path, b'{"x": [1]}')).status in {400, 404}


async def test_unknown_version(worker: Worker, shell: Shell) -> None:
    """An unknown version is NOT_FOUND and the message lists those that are here."""
    with pytest.raises(GraphmeshError, match="there is 2, 1") as caught:
        await shell(worker, _request("add", "7", x=_floats(1)))
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("model", ["broken", "exits"])
async def test_failure_of_a_model(worker: Worker, shell: Shell, model: str, caplog: pytest.LogCaptureFixture) -> None:
    """What a model raises stays in the log; the client gets INTERNAL and an id to find it by."""
    with pytest.raises(GraphmeshError, match="failure-") as caught:
        await shell(worker, _request(model, x=_floats(1)))
    assert caught.value.code is Code.INTERNAL
    assert "secret" not in caught.value.message
    assert caught.value.message.split()[-1] in caplog.text


async def test_wrong_output_is_the_models_fault(worker: Worker, shell: Shell) -> None:
    """A model that gives what it did not declare fails with INTERNAL and says which output."""
    with pytest.raises(GraphmeshError, match="output 'y' must be FP32") as caught:
        await shell(worker, _request("wrong-output", x=_floats(1)))
    assert caught.value.code is Code.INTERNAL


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_every_code_arrives(worker: Worker, shell: Shell, code: Code) -> None:
    """Every gRPC code that a model raises arrives with its message."""
    with pytest.raises(GraphmeshError, match=f"code {code.value} on purpose: 100% é") as caught:
        await shell(worker, _request("raises", code=_scalar(code.value, "i8")))
    assert caught.value.code is code


async def test_failed_model(worker: Worker, shell: Shell) -> None:
    """A model that failed to load is UNAVAILABLE and says which file and why, without folders."""
    with pytest.raises(GraphmeshError, match=r"toys\.py:Unloadable: OSError: cannot read weights\.bin") as caught:
        await shell(worker, _request("unloadable", x=_floats(1)))
    assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("model", ["sleep", "block"])
async def test_deadline(worker: Worker, shell: Shell, model: str) -> None:
    """A call ends at its deadline, whether the model is on the loop or on a thread."""
    loop = asyncio.get_running_loop()
    hosted = worker.catalog.find(model)
    assert hosted is not None
    async with asyncio.timeout(5):
        while hosted._execution.statistics.running:  # type: ignore[union-attr]  # noqa: ASYNC110 - of the test before
            await asyncio.sleep(0.01)
    started = loop.time()
    with pytest.raises(GraphmeshError) as caught:
        await shell(worker, _request(model, seconds=_scalar(0.5, "f8")), 0.1)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert loop.time() - started < 0.4


async def test_output_selection(worker: Worker, http: Http) -> None:
    """Only the outputs asked for come back; an unknown one is INVALID_ARGUMENT."""
    for shell in (FastPath(http), Grpc()):
        request = _request("describe", values=np.array([1.0, 3.0]))
        request.outputs = ("count", "total")
        outputs = await shell(worker, request)
        assert {name: value.item() for name, value in outputs.items()} == {"count": 2, "total": 4.0}
        request.outputs = ("counts",)
        with pytest.raises(GraphmeshError, match="did you mean 'count'"):
            await shell(worker, request)


async def test_answer_too_large(worker: Worker, shell: Shell) -> None:
    """An answer beyond the limit is RESOURCE_EXHAUSTED."""
    with pytest.raises(GraphmeshError) as caught:
        await shell(worker, _request("fill", size=_scalar(2 << 20, "i8")))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
