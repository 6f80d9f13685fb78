"""The control plane's part of the inference services: the server and the whole mesh, and models that nobody serves."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn

from graphmesh.core.errors import FailedPrecondition, InvalidRequest, ModelNotReady
from graphmesh.core.oip import RPCS, Management
from graphmesh.gateway.absent import check_timeout
from graphmesh.gateway.servicer_errors import abort, answers, well_formed
from graphmesh.oip import open_inference_pb2, open_inference_pb2_grpc
from graphmesh.v1 import inference_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import grpc

    from graphmesh.gateway.view import View

__all__ = ["AbsentPredict", "OipServicer"]


class OipServicer(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """The Open Inference Protocol: calls of server and mesh answered, model calls refused with the reason."""

    def __init__(self, view: View, management: Management) -> None:
        self._view = view
        for name, (_, answer) in RPCS.items():
            setattr(self, name, _managed(management, answer))

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
        raise self._view.absent(request.model_name, request.model_version)

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Say why the model that the first message names is not served."""
        async for request in requests:
            try:
                named = well_formed(request)
            except InvalidRequest as error:
                await abort(context, error)
            await abort(context, self._view.absent(named.model_name, named.model_version))

    @answers
    async def ModelMetadata(self, request: Any, _: Any) -> NoReturn:  # noqa: ANN401, N802
        """Say why the model is not served."""
        raise self._view.absent(request.name, request.version)

    @answers
    async def ModelReady(self, request: Any, _: Any) -> Any:  # noqa: ANN401, N802
        """Return false for a model that is known, NOT_FOUND for one that is not."""
        error = self._view.absent(request.name, request.version)
        if isinstance(error, ModelNotReady | FailedPrecondition):
            return open_inference_pb2.ModelReadyResponse(ready=False)
        raise error


def _managed(management: Management, answer: Callable[[Management, Any], Awaitable[Any]]) -> Callable[..., Any]:
    """Return the method that answers an RPC of `graphmesh.core.oip`."""

    @answers
    async def method(_servicer: object, request: Any, _: Any) -> Any:  # noqa: ANN401
        return await answer(management, request)

    return functools.partial(method, None)


class AbsentPredict(inference_service_pb2_grpc.InferenceServiceServicer):
    """Natural JSON over gRPC, for models that nobody serves."""

    def __init__(self, view: View) -> None:
        self._view = view

    @answers
    async def Predict(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:  # noqa: ANN401, N802
        """Say why the model is not served, or that the patience of a REST caller cannot be read."""
        check_timeout(dict(context.invocation_metadata() or ()).get("x-graphmesh-timeout-ms"))
        raise self._view.absent(request.model, request.version)

    # Nothing is streamed before the error.
    PredictStream = GenerateStream = Predict
