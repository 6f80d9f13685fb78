"""Reference: a gateway written in Python, a `grpc.aio` server that passes the bytes of unary calls on unparsed.

Run with the port to listen on and the ``host:port`` to call.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc


class Forward(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Every unary method, to one upstream."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - grpc has no types
        self._channel = channel
        self._handlers: dict[str, Any] = {}

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401 - grpc has no types
        """Return the handler of a method, made on its first call."""
        method = handler_call_details.method
        if method not in self._handlers:
            self._handlers[method] = self._handler(method)
        return self._handlers[method]

    def _handler(self, method: str) -> Any:  # noqa: ANN401 - grpc has no types
        call = self._channel.unary_unary(method)

        async def forward(request: bytes, context: Any) -> bytes:  # noqa: ANN401 - grpc has no types
            answer: bytes = await call(request, timeout=context.time_remaining())
            return answer

        return grpc.unary_unary_rpc_method_handler(forward)


async def main(port: int, upstream: str) -> None:
    """Serve until the process is ended."""
    async with grpc.aio.insecure_channel(upstream) as channel:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Forward(channel),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
