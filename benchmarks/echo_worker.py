"""Reference: the plainest `grpc.aio` server that parses and answers a ModelInfer. Run with the port to listen on."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import numpy as np

from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.oip import open_inference_pb2_grpc as pb_grpc


class Servicer(pb_grpc.GRPCInferenceServiceServicer):
    """Adds one to the first input; checks nothing, counts nothing."""

    async def ModelInfer(  # noqa: N802 - the protocol's name
        self,
        request: pb.ModelInferRequest,
        context: Any,  # noqa: ARG002, ANN401 - grpc's signature, untyped
    ) -> pb.ModelInferResponse:
        """Answer ``y = x + 1``."""
        y = np.frombuffer(request.raw_input_contents[0], dtype="<f4") + np.float32(1)
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        answer.outputs.add(name="y", datatype="FP32", shape=y.shape)
        answer.raw_output_contents.append(y.tobytes())
        return answer


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server()
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
