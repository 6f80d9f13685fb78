# ruff: noqa: ANN401, N802 - a stand-in made of untyped parts
"""A tiny worker for the gateway's tests: both ports of a real one, and behaviours chosen by the request.

Run as a process with one argument, JSON: worker_id, etcd (endpoints; none registers nowhere), http_port, grpc_port,
ttl_s, models (name, version, state, message). A request's `id` chooses what happens: `sleep:MS`, `error:CODE`, `die`,
`echo-headers`, `huge:BYTES`, and the lies of a broken worker: `lie-short`, `lie-long`, `no-length`, `html`.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import signal
import sys
import time
from typing import Any
from urllib.parse import quote

import grpc
from google.rpc import error_details_pb2, status_pb2
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from graphmesh.core.signature import Signature, TensorSpec
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.oip import open_inference_pb2_grpc as pb_grpc
from graphmesh.registry import (
    HostedModel,
    ModelSpec,
    ModelState,
    Registry,
    Session,
    WorkerRecord,
    WorkerState,
    connect,
)

NAME = "worker"
READY = True
INFLIGHT: set[object] = set()
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def details(code: int, message: str) -> bytes:
    """Return a serialized google.rpc.Status with an ErrorInfo."""
    status = status_pb2.Status(code=code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="FAKE", domain="graphmesh"))
    return bytes(status.SerializeToString())


def answer(request: Any, headers: dict[str, str]) -> Any:
    """Return the answer: who answered, and the headers that came if asked."""
    response = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
    response.parameters["worker"].string_param = NAME
    if request.id == "echo-headers":
        response.parameters["headers"].string_param = json.dumps(headers)
    size = int(request.id[5:]) if request.id.startswith("huge:") else None
    if size is not None:
        response.raw_output_contents.append(bytes(size))
    else:
        response.raw_output_contents.extend(request.raw_input_contents)
    return response


async def behave(request: Any) -> tuple[int, str] | None:
    """Do what the id asks; return a status to fail with."""
    if request.id.startswith("sleep:"):
        INFLIGHT.add(request_token := object())
        try:
            await asyncio.sleep(int(request.id[6:]) / 1000)
        finally:
            INFLIGHT.discard(request_token)
    if request.id == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if request.id.startswith("error:"):
        return int(request.id[6:]), f"error {request.id[6:]}: 100% ümlaut"
    return None


class Http:
    """The HTTP port."""

    async def __call__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        if scope.path == "/healthz/ready":
            protocol.response_empty(200 if READY else 503, [("content-length", "0")])
        elif scope.path == "/inference.GRPCInferenceService/ModelInfer":
            await self.infer(scope, protocol)
        else:
            await self.rest(scope, protocol)

    async def infer(self, scope: Any, protocol: Any) -> None:
        """Answer on the fast path."""
        request = pb.ModelInferRequest.FromString(await protocol())
        proto = ("content-type", "application/x-protobuf")
        failure = await behave(request)
        if failure:
            code, message = failure
            packed = base64.b64encode(details(code, message)).rstrip(b"=").decode()
            protocol.response_bytes(
                200,
                [
                    proto,
                    ("content-length", "0"),
                    ("grpc-status", str(code)),
                    ("grpc-message", quote(message)),
                    ("grpc-status-details-bin", packed),
                    ("grpc-retry-pushback-ms", "250"),
                ],
                b"",
            )
            return
        body = answer(request, dict(scope.headers.items())).SerializeToString()
        if request.id == "lie-short":
            protocol.response_bytes(200, [proto, ("content-length", str(len(body) - 3))], body)
        elif request.id == "lie-long":
            protocol.response_bytes(200, [proto, ("content-length", str(len(body) + 999))], body)
        elif request.id == "no-length":
            stream = protocol.response_stream(200, [proto])
            await stream.send_bytes(body)
        elif request.id == "html":
            protocol.response_bytes(500, [("content-type", "text/html")], b"<h1>no</h1>" * 100)
        else:
            protocol.response_bytes(200, [proto], body)

    async def rest(self, scope: Any, protocol: Any) -> None:
        """Answer REST with what came."""
        body = await protocol()
        headers = dict(scope.headers.items())
        if "x-sleep-ms" in headers:
            await asyncio.sleep(int(headers["x-sleep-ms"]) / 1000)
        status = int(headers.get("x-status", "200"))
        shown = {
            "worker": NAME,
            "path": scope.path,
            "query": scope.query_string,
            "length": len(body),
            "headers": headers,
        }
        protocol.response_bytes(status, [("content-type", "application/json")], json.dumps(shown).encode())


class Streams(pb_grpc.GRPCInferenceServiceServicer):
    """The gRPC port."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """Answer a call, compressed or direct."""
        failure = await behave(request)
        if failure:
            code, message = failure
            context.set_trailing_metadata(
                (("grpc-status-details-bin", details(code, message)), ("grpc-retry-pushback-ms", "250"))
            )
            statuses = {status.value[0]: status for status in grpc.StatusCode}
            await context.abort(statuses[code], message)
        return answer(request, {key: str(value) for key, value in context.invocation_metadata()})

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Any:
        """Answer every message of a stream."""
        async for request in requests:
            await behave(request)
            yield pb.ModelStreamInferResponse(infer_response=answer(request, {}))

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """Always ready."""
        return pb.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """Return the name."""
        return pb.ModelMetadataResponse(name=request.name, platform=NAME)


async def register(config: dict[str, Any]) -> Session[WorkerRecord] | None:
    """Register as a real worker does; not without etcd."""
    if not config["etcd"]:
        return None
    registry = Registry(connect(config["etcd"]))
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="UINT8", shape=("N",)),),
        outputs=(TensorSpec(name="y", datatype="UINT8", shape=("N",)),),
    )
    states = {state.name: state for state in ModelState}
    models = tuple(
        HostedModel(
            name=model["name"],
            version=model.get("version", "1"),
            state=states[model.get("state", "AVAILABLE")],
            signature_digest=signature.digest,
            message=model.get("message", ""),
        )
        for model in config["models"]
    )
    record = WorkerRecord(
        worker_id=config["worker_id"],
        host="127.0.0.1",
        http_port=config["http_port"],
        grpc_port=config["grpc_port"],
        models=models,
        start_time=time.time(),
    )
    specs = [ModelSpec(name=model.name, versions=(model.version,)) for model in models]
    return await registry.register_worker(record, signatures=[signature], specs=specs, ttl_s=config["ttl_s"])


async def main(config: dict[str, Any]) -> None:
    """Serve both ports until killed; SIGTERM drains as a real worker does."""
    global READY  # noqa: PLW0603 - a fake
    server = grpc.aio.server(options=UNLIMITED)
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(Streams(), server)
    server.add_insecure_port(f"127.0.0.1:{config['grpc_port']}")
    await server.start()
    http = Server(
        Http(),
        address="127.0.0.1",
        port=config["http_port"],
        interface=Interfaces.RSGI,
        http=HTTPModes.auto,
        websockets=False,
        log_enabled=False,
    )
    serving = asyncio.create_task(http.serve())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    session = await register(config)
    await stop.wait()
    if session:
        await session.update(dataclasses.replace(session.record, state=WorkerState.DRAINING))
        await asyncio.sleep(0.3)
    READY = False
    while INFLIGHT:  # noqa: ASYNC110 - a fake
        await asyncio.sleep(0.02)
    if session:
        await session.close()
    await server.stop(1)
    http.stop()
    await serving


if __name__ == "__main__":
    CONFIG = json.loads(sys.argv[1])
    NAME = CONFIG["worker_id"]
    asyncio.run(main(CONFIG))
