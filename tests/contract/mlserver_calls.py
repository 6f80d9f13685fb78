"""Calls with what mlserver gives to clients, as a program of its environment; prints what they gave as JSON.

Requests are built with mlserver's types and codecs, sent over its gRPC stubs and as its JSON; its batch command sends
files. Arguments: `host:port` for REST, `host:port` for gRPC, a folder to write to.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelInferRequestConverter, ModelInferResponseConverter
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, RequestOutput


def numbers() -> InferenceRequest:
    """Return a request of `add` or `chain`."""
    values = NumpyCodec.encode_input("x", np.array([1.5, 2.5], np.float32))
    values.shape = [2]  # the codec writes a vector as [2, 1]
    return InferenceRequest(id="m-1", parameters=Parameters(content_type="np"), inputs=[values])


def text(*, use_bytes: bool) -> InferenceRequest:
    """Return a request of text: as bytes for gRPC, as strings for JSON."""
    words = StringCodec.encode_input("text", ["a", "ü"], use_bytes=use_bytes)
    words.shape = [2]
    return InferenceRequest(inputs=[words], outputs=[RequestOutput(name="upper")])


def over_grpc(address: str) -> dict[str, object]:
    """Return what mlserver's stubs gave, with typed contents and with raw ones."""
    with grpc.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        found: dict[str, object] = {
            "live": stub.ServerLive(pb.ServerLiveRequest()).live,
            "ready": stub.ServerReady(pb.ServerReadyRequest()).ready,
            "model": stub.ModelReady(pb.ModelReadyRequest(name="chain")).ready,
            "server": stub.ServerMetadata(pb.ServerMetadataRequest()).name,
            "metadata": [one.name for one in stub.ModelMetadata(pb.ModelMetadataRequest(name="add")).inputs],
            "index": [one.name for one in stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models],
        }
        for model in ("add", "chain"):
            for raw in (True, False):
                request = ModelInferRequestConverter.from_types(numbers(), model_name=model, use_raw=raw)
                answer = ModelInferResponseConverter.to_types(stub.ModelInfer(request))
                found[f"{model} {raw}"] = [answer.id, NumpyCodec.decode_output(answer.outputs[0]).tolist()]
        answer = ModelInferResponseConverter.to_types(
            stub.ModelInfer(ModelInferRequestConverter.from_types(text(use_bytes=True), model_name="upper"))
        )
        found["text"] = StringCodec.decode_output(answer.outputs[0])
        try:
            stub.ModelInfer(ModelInferRequestConverter.from_types(numbers(), model_name="nope"))
        except grpc.RpcError as error:
            found["error"] = [error.code().name, error.details()]
        return found


def post(url: str, request: InferenceRequest) -> dict[str, Any]:
    """Return the JSON of an answer, of an error too."""
    call = urllib.request.Request(url, data=request.model_dump_json().encode())  # noqa: S310 - the test's own address
    try:
        with urllib.request.urlopen(call, timeout=20) as answer:  # noqa: S310
            document: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        document = json.load(error)
    return document


def over_rest(address: str) -> dict[str, object]:
    """Return what mlserver's types make of our JSON."""
    found: dict[str, object] = {}
    for model in ("add", "chain"):
        answer = InferenceResponse(**post(f"http://{address}/v2/models/{model}/infer", numbers()))
        found[model] = [answer.id, NumpyCodec.decode_output(answer.outputs[0]).tolist()]
    answer = InferenceResponse(**post(f"http://{address}/v2/models/upper/infer", text(use_bytes=False)))
    found["text"] = StringCodec.decode_output(answer.outputs[0])
    found["error"] = post(f"http://{address}/v2/models/nope/infer", numbers())["error"]
    return found


def by_batch(address: str, folder: Path, *flags: str) -> list[object]:
    """Return the outputs that `mlserver infer` wrote for a file of three requests."""
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("\n".join(numbers().model_dump_json() for _ in range(3)))
    command = ["-m", "mlserver.cli.main", "infer", "-u", address, "-m", "add", "-i", str(source), "-o", str(target)]
    program = "from mlserver.cli.main import root; root()"
    subprocess.run([sys.executable, "-c", program, *command[2:], *flags], check=True, capture_output=True)
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    return [line["outputs"][0]["data"] for line in lines]


def main() -> None:
    """Print everything."""
    rest, over, folder = sys.argv[1:]
    found = {
        "grpc": over_grpc(over),
        "rest": over_rest(rest),
        "batch": [by_batch(rest, Path(folder)), by_batch(rest, Path(folder), "--binary-data")],
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
