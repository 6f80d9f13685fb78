"""Calls of kserve's clients, as a program of the environment they are installed in; prints what they gave as JSON.

Arguments: `host:port` for REST, `host:port` for gRPC.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

logging.disable(logging.CRITICAL)
NUMBERS = np.array([1.5, 2.5], np.float32)


def tensor(name: str, array: Any, datatype: str, *, binary: bool) -> InferInput:  # noqa: ANN401 - an array
    """Return an input."""
    found = InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array, binary_data=binary)
    return found


def numbers(model: str, *, binary: bool) -> InferRequest:
    """Return a request of `add` or `chain`."""
    return InferRequest(model, [tensor("x", NUMBERS, "FP32", binary=binary)], request_id="k-1")


def halves() -> InferRequest:
    """Return a request of every datatype that kserve can send, half precision too."""
    inputs = [
        tensor("scalar", np.array(5, np.int64), "INT64", binary=True),
        tensor("rows", np.zeros((0, 4), np.uint8), "UINT8", binary=True),
    ]
    outputs = [RequestedOutput("rows", {"binary_data": True}), RequestedOutput("scalar", {"binary_data": True})]
    return InferRequest("reshape", inputs, request_outputs=outputs)


def text() -> InferRequest:
    """Return a request of text."""
    words = InferInput("text", [2], "BYTES", data=["a", "ü"])
    return InferRequest("upper", [words])


async def over_grpc(address: str) -> dict[str, object]:
    """Return what the gRPC client gave."""
    async with InferenceGRPCClient(address) as client:
        found: dict[str, object] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready("chain"),
        }
        for model in ("add", "chain"):
            for binary in (True, False):
                answer = await client.infer(numbers(model, binary=binary))
                found[f"{model} {binary}"] = [answer.id, answer.outputs[0].as_numpy().tolist()]
        answer = await client.infer(halves())
        found["shapes"] = {output.name: output.as_numpy().shape for output in answer.outputs}
        upper = (await client.infer(text())).outputs[0].as_numpy()
        found["text"] = [item.decode() for item in upper.tolist()]
        try:
            await client.infer(numbers("nope", binary=True))
        except grpc.RpcError as error:
            found["error"] = [error.code().name, error.details()]
        return found


async def over_rest(address: str) -> dict[str, object]:
    """Return what the REST client gave."""
    client, base = InferenceRESTClient(RESTConfig(protocol="v2")), f"http://{address}"
    found: dict[str, object] = {
        "live": await client.is_server_live(base),
        "ready": await client.is_server_ready(base),
        "model": await client.is_model_ready(base, "chain"),
        "unknown": await _status(client.is_model_ready(base, "nope")),
    }
    for model in ("add", "chain"):
        for binary in (True, False):
            answer = await client.infer(base, numbers(model, binary=binary), model_name=model)
            found[f"{model} {binary}"] = [answer.id, answer.outputs[0].as_numpy().tolist()]
    answer = await client.infer(base, halves(), model_name="reshape")
    found["shapes"] = {output.name: output.as_numpy().shape for output in answer.outputs}
    upper = (await client.infer(base, text(), model_name="upper")).outputs[0].as_numpy()
    found["text"] = [item.decode() if isinstance(item, bytes) else item for item in upper.tolist()]
    found["error"] = await _status(client.infer(base, numbers("nope", binary=True), model_name="nope"))
    await client.close()
    return found


async def _status(call: Any) -> object:  # noqa: ANN401 - a coroutine of the client
    try:
        return await call
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, error.response.json()["error"]]


async def main() -> None:
    """Print what both clients gave."""
    rest, over = sys.argv[1:]
    sys.stdout.write(json.dumps({"grpc": await over_grpc(over), "rest": await over_rest(rest)}))


if __name__ == "__main__":
    asyncio.run(main())
