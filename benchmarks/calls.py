"""What clients send, ready-made, and what a right answer is.

A benchmark of wrong answers is worthless, so every call is made once before it is measured and its answer compared;
its length then tells, in millions of answers that nobody reads, that each carried a full result (a gRPC error is HTTP
200 with an empty body).
"""

from __future__ import annotations

import asyncio
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import numpy as np
import orjson

from graphmesh.oip import open_inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Call", "WrongAnswer", "fast_path_call", "grpc_call", "natural_call", "oip_call", "verify"]

_X = [1.5, -2.0, 0.25, 1024.0]
_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_GRPC = "application/grpc"
_FRAME_HEADER = 5
_TIMEOUT_S = 10.0


class WrongAnswer(Exception):
    """A system did not answer as the model must; nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of a client, as bytes."""

    address: str
    """``host:port``."""
    path: str
    """The URL's path."""
    body: bytes
    """What is posted; a gRPC call's with its frame."""
    headers: Mapping[str, str]
    """Headers, lower-case."""
    outputs: Callable[[bytes], list[float]]
    """Reads `y` from an answer's body (a gRPC answer's without its frame)."""
    expected: list[float]
    """What `y` must be."""


def _message(model: str) -> bytes:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype="FP32", shape=[len(_X)])
    request.raw_input_contents.append(np.array(_X, dtype="<f4").tobytes())
    return request.SerializeToString()


def _from_message(body: bytes) -> list[float]:
    answer = pb.ModelInferResponse.FromString(body)
    if [output.name for output in answer.outputs] != ["y"]:
        raise WrongAnswer(f"outputs must be ['y'], got {answer}")
    values: list[float] = np.frombuffer(answer.raw_output_contents[0], dtype="<f4").tolist()
    return values


def _from_natural(body: bytes) -> list[float]:
    values: list[float] = orjson.loads(body)["outputs"]["y"]
    return values


def _from_oip(body: bytes) -> list[float]:
    values: list[float] = orjson.loads(body)["outputs"][0]["data"]
    return values


def _sum(steps: int) -> list[float]:
    return [value + steps for value in _X]


def grpc_call(address: str, model: str, *, steps: int = 1) -> Call:
    """Return a gRPC ModelInfer of a model that adds one ``steps`` times."""
    message = _message(model)
    return Call(
        address=address,
        path=_METHOD,
        body=b"\0" + len(message).to_bytes(4, "big") + message,
        headers={"content-type": _GRPC, "te": "trailers"},
        outputs=_from_message,
        expected=_sum(steps),
    )


def fast_path_call(address: str, model: str, *, steps: int = 1) -> Call:
    """Return the same as the gateway sends it to a worker: protobuf over HTTP."""
    headers = {"content-type": "application/x-protobuf"}
    body = _message(model)
    return Call(address=address, path=_METHOD, body=body, headers=headers, outputs=_from_message, expected=_sum(steps))


def natural_call(address: str, model: str) -> Call:
    """Return the same in natural JSON."""
    return Call(
        address=address,
        path=f"/v1/models/{model}:predict",
        body=orjson.dumps({"x": _X}),
        headers={"content-type": "application/json"},
        outputs=_from_natural,
        expected=_sum(1),
    )


def oip_call(address: str, model: str) -> Call:
    """Return the same in the Open Inference Protocol's JSON."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(_X)], "data": _X}
    return Call(
        address=address,
        path=f"/v2/models/{model}/infer",
        body=orjson.dumps({"inputs": [tensor]}),
        headers={"content-type": "application/json"},
        outputs=_from_oip,
        expected=_sum(1),
    )


async def verify(call: Call) -> int:
    """Make a call once and return how many bytes its answer's body has on the wire.

    Raises:
        WrongAnswer: an error, or another answer than expected.
    """
    try:
        if call.headers["content-type"] == _GRPC:
            body = await _call_grpc(call)
            length = _FRAME_HEADER + len(body)
        else:
            body = await asyncio.to_thread(_post, call)
            length = len(body)
        got = call.outputs(body)
    except (grpc.RpcError, OSError, LookupError, ValueError) as error:
        raise WrongAnswer(f"{call.address}{call.path} failed before anything was measured: {error}") from error
    if got != call.expected:
        raise WrongAnswer(f"{call.address}{call.path} must answer y = {call.expected}, got {got}")
    return length


async def _call_grpc(call: Call) -> bytes:
    async with grpc.aio.insecure_channel(call.address) as channel:
        answer: bytes = await channel.unary_unary(call.path)(call.body[_FRAME_HEADER:], timeout=_TIMEOUT_S)
        return answer


def _post(call: Call) -> bytes:
    url = f"http://{call.address}{call.path}"
    request = urllib.request.Request(url, call.body, dict(call.headers))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT_S) as answer:
        body: bytes = answer.read()
        return body
