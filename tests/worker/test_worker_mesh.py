"""Calls through gateways: turns, failing over, what is final."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import numpy as np
import pytest

from graphmesh.cli.ports import free_port
from graphmesh.core.clock import Deadline
from graphmesh.core.errors import Code, DeadlinePassed, GraphmeshError, ModelNotReady, Overloaded, Unavailable
from graphmesh.core.inference import InferenceRequest, InferenceResponse
from graphmesh.core.status import rpc_status
from graphmesh.registry import GatewayRecord, Snapshot
from graphmesh.worker.forms.wire import decode_request, encode_response
from graphmesh.worker.mesh import Mesh

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gateway:
    """A gRPC server that answers as it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[InferenceRequest, dict[str, str]]] = []
        self.error: GraphmeshError | None = None
        self.bare_code: grpc.StatusCode | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        self.server = grpc.aio.server()
        methods = {"ModelInfer": grpc.unary_unary_rpc_method_handler(self._answer)}
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods),)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()

    async def _answer(self, data: bytes, context: Any) -> bytes:  # noqa: ANN401
        request = decode_request(data)
        self.calls.append((request, dict(context.invocation_metadata())))
        if self.bare_code is not None:
            await context.abort(self.bare_code, "no healthy upstream")
        if self.error is not None:
            trailer = (("grpc-status-details-bin", rpc_status(self.error).SerializeToString()),)
            code = next(code for code in grpc.StatusCode if code.value[0] == self.error.code)
            await context.abort(code, self.error.message, trailer)
        return encode_response(InferenceResponse(model=request.model, version="1", outputs=request.inputs))


@pytest.fixture
async def gateways() -> AsyncIterator[list[Gateway]]:
    """Two gateways."""
    running = [Gateway(), Gateway()]
    for gateway in running:
        await gateway.start()
    yield running
    for gateway in running:
        await gateway.server.stop(None)


def _snapshot(*ports: int) -> Snapshot:
    records = [GatewayRecord(gateway_id=f"g{i}", host="127.0.0.1", port=port) for i, port in enumerate(ports)]
    return Snapshot(gateways={record.gateway_id: record for record in records})


def _request(**more: Any) -> InferenceRequest:  # noqa: ANN401
    return InferenceRequest(model="m", inputs={"x": np.arange(3, dtype=np.int64)}, **more)


async def test_no_gateway() -> None:
    """Without a gateway a model that is elsewhere is UNAVAILABLE, and the message says why."""
    async with Mesh(Snapshot, max_message_bytes=1 << 20) as mesh:
        with pytest.raises(ModelNotReady, match="no gateway is registered"):
            await mesh.infer(_request())


async def test_calls_take_turns(gateways: list[Gateway]) -> None:
    """Calls go to the gateways in turn and carry depth, deadline and headers."""
    async with Mesh(lambda: _snapshot(*(g.port for g in gateways)), max_message_bytes=1 << 20) as mesh:
        for _ in range(4):
            request = _request(depth=2, headers={"x-request-id": "r"}, deadline=Deadline.after(5))
            answer = await mesh.infer(request)
            assert answer.outputs["x"].tolist() == [0, 1, 2]
    assert [len(gateway.calls) for gateway in gateways] == [2, 2]
    metadata = gateways[0].calls[0][1]
    assert (metadata["x-graphmesh-depth"], metadata["x-request-id"]) == ("2", "r")


@pytest.mark.parametrize("value", ["café", "a\x7f", "a\nb"])
async def test_a_header_that_grpc_cannot_send_stays_here(gateways: list[Gateway], value: str) -> None:
    """The call goes on without it."""
    async with Mesh(lambda: _snapshot(gateways[0].port), max_message_bytes=1 << 20) as mesh:
        await mesh.infer(_request(headers={"x-request-id": value, "x-tier": "gold"}))
    metadata = gateways[0].calls[0][1]
    assert ("x-request-id" in metadata, metadata["x-tier"]) == (False, "gold")


async def test_dead_gateway_is_passed_over(gateways: list[Gateway]) -> None:
    """A gateway that cannot be reached costs no call."""
    async with Mesh(lambda: _snapshot(free_port(), gateways[0].port), max_message_bytes=1 << 20) as mesh:
        for _ in range(4):
            await mesh.infer(_request())
    assert len(gateways[0].calls) == 4


async def test_gateway_without_upstream_is_passed_over(gateways: list[Gateway]) -> None:
    """UNAVAILABLE of a gateway itself is tried at the next one."""
    gateways[0].bare_code = grpc.StatusCode.UNAVAILABLE
    async with Mesh(lambda: _snapshot(*(g.port for g in gateways)), max_message_bytes=1 << 20) as mesh:
        for _ in range(2):
            await mesh.infer(_request())
    assert len(gateways[1].calls) == 2


async def test_all_gateways_unavailable(gateways: list[Gateway]) -> None:
    """When no gateway answers, the call is UNAVAILABLE after one attempt at each."""
    for gateway in gateways:
        gateway.bare_code = grpc.StatusCode.UNAVAILABLE
    async with Mesh(lambda: _snapshot(*(g.port for g in gateways)), max_message_bytes=1 << 20) as mesh:
        with pytest.raises(Unavailable, match="cannot be reached by any gateway"):
            await mesh.infer(_request())
    assert [len(gateway.calls) for gateway in gateways] == [1, 1]


@pytest.mark.parametrize("error", [ModelNotReady("not loaded"), GraphmeshError("broken")])
async def test_answers_of_the_mesh_are_final(gateways: list[Gateway], error: GraphmeshError) -> None:
    """What a worker answered is not tried again, not even UNAVAILABLE."""
    for gateway in gateways:
        gateway.error = error
    async with Mesh(lambda: _snapshot(*(g.port for g in gateways)), max_message_bytes=1 << 20) as mesh:
        with pytest.raises(GraphmeshError, match=error.message) as caught:
            await mesh.infer(_request())
    assert caught.value.code is error.code
    assert sum(len(gateway.calls) for gateway in gateways) == 1


async def test_other_codes_are_final(gateways: list[Gateway]) -> None:
    """A code other than UNAVAILABLE is not tried again, with or without details."""
    for gateway in gateways:
        gateway.bare_code = grpc.StatusCode.RESOURCE_EXHAUSTED
    async with Mesh(lambda: _snapshot(*(g.port for g in gateways)), max_message_bytes=1 << 20) as mesh:
        with pytest.raises(GraphmeshError) as caught:
            await mesh.infer(_request())
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert sum(len(gateway.calls) for gateway in gateways) == 1


async def test_a_pushback_is_passed_on(gateways: list[Gateway]) -> None:
    """When a worker elsewhere says after how long a repeat has a chance, whoever called through the mesh hears it."""
    gateways[0].error = Overloaded("too many calls", retry_after_s=1.5)
    async with Mesh(lambda: _snapshot(gateways[0].port), max_message_bytes=1 << 20) as mesh:
        with pytest.raises(Overloaded) as caught:
            await mesh.infer(_request())
    assert caught.value.retry_after_s == 1.5


async def test_passed_deadline_is_not_called(gateways: list[Gateway]) -> None:
    """A call whose deadline has passed goes nowhere."""
    async with Mesh(lambda: _snapshot(gateways[0].port), max_message_bytes=1 << 20) as mesh:
        with pytest.raises(DeadlinePassed):
            await mesh.infer(_request(deadline=Deadline.after(-1)))
    assert not gateways[0].calls


async def test_gateways_that_left_are_forgotten(gateways: list[Gateway]) -> None:
    """Connections to gateways that are no longer registered are closed once nothing uses them."""
    ports = [gateways[0].port]
    async with Mesh(lambda: _snapshot(*ports), max_message_bytes=1 << 20) as mesh:
        await mesh.infer(_request())
        ports[0] = gateways[1].port
        await mesh.infer(_request())
        await mesh.infer(_request())
        assert list(mesh._links) == [f"127.0.0.1:{gateways[1].port}"]
