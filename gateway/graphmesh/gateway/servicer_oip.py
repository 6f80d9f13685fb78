"""The control plane's part of the inference services: what is asked of the server, and models that nobody serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from graphmesh.core.errors import InvalidRequest
from graphmesh.gateway.absent import reason
from graphmesh.gateway.servicer_errors import abort, answers, well_formed
from graphmesh.oip import open_inference_pb2, open_inference_pb2_grpc
from graphmesh.v1 import inference_service_pb2, inference_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from graphmesh.gateway.view import View

__all__ = ["AbsentPredict", "OipServicer"]


class OipServicer(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """The Open Inference Protocol: server calls answered, model calls refused with the reason."""

    def __init__(self, view: View) -> None:
        self._view = view

    @answers
    async def ServerLive(self, _request: Any, _: Any) -> Any:  # noqa: ANN401, N802
        """Return true: this process answers."""
        return open_inference_pb2.ServerLiveResponse(live=True)

    @answers
    async def ServerReady(self, _request: Any, _: Any) -> Any:  # noqa: ANN401, N802
        """Return whether inference can be served."""
        return open_inference_pb2.ServerReadyResponse(ready=self._view.ready)

    @answers
    async def ServerMetadata(self, _request: Any, _: Any) -> Any:  # noqa: ANN401, N802
        """Return name, version and extensions."""
        about = self._view.about
        return open_inference_pb2.ServerMetadataResponse(
            name=about.name, version=about.version, extensions=about.extensions
        )

    @answers
    async def ModelInfer(self, request: Any, _: Any) -> NoReturn:  # noqa: ANN401, N802
        """Say why the model is not served."""
        raise reason(self._view.snapshot, request.model_name, request.model_version)

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Say why the model that the first message names is not served."""
        async for request in requests:
            try:
                named = well_formed(request)
            except InvalidRequest as error:
                await abort(context, error)
            await abort(context, reason(self._view.snapshot, named.model_name, named.model_version))

    @answers
    async def ModelMetadata(self, request: Any, _: Any) -> NoReturn:  # noqa: ANN401, N802
        """Say why the model is not served."""
        raise reason(self._view.snapshot, request.name, request.version)

    @answers
    async def ModelReady(self, request: Any, _: Any) -> Any:  # noqa: ANN401, N802
        """Return false for a model that is known, NOT_FOUND for one that is not."""
        error = reason(self._view.snapshot, request.name, request.version)
        if error.reason == "MODEL_NOT_READY":
            return open_inference_pb2.ModelReadyResponse(ready=False)
        raise error


class AbsentPredict(inference_service_pb2_grpc.InferenceServiceServicer):
    """Natural JSON over gRPC, for models that nobody serves."""

    def __init__(self, view: View) -> None:
        self._view = view

    @answers
    async def Predict(self, request: inference_service_pb2.PredictRequest, _: Any) -> NoReturn:  # noqa: ANN401, N802
        """Say why the model is not served."""
        raise reason(self._view.snapshot, request.model, request.version)
