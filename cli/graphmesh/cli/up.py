"""`graphmesh up`: a whole mesh on this machine, from one file.

Starts etcd (unless one is given), the gateway and the workers of mesh.yaml as child processes, waits until every model
is ready, applies the graphs, and keeps it all running: what dies is started again, and models are scaled as
`graphmesh scale` asks. On SIGTERM or Ctrl-C it stops in the order that loses no request: workers drain while the
gateway still routes, then the gateway, then etcd.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from graphmesh.cli import readiness
from graphmesh.cli.children import Child
from graphmesh.cli.graph_load import load_graphs
from graphmesh.cli.local import check_none_runs
from graphmesh.cli.ports import check_ports, local_address
from graphmesh.cli.scaling import base_replicas, extra_workers
from graphmesh.cli.state import MeshState, mark, write_state
from graphmesh.client import ControlClient
from graphmesh.core.errors import DeadlinePassed, GraphmeshError, StartFailed, Unavailable
from graphmesh.core.names import new_id
from graphmesh.graph.forms.wire import graph_to_wire
from graphmesh.registry import LocalEtcd, Registry, connect
from graphmesh.v1 import graph_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from graphmesh.cli.mesh_file import MeshFile
    from graphmesh.graph.spec import Graph
    from graphmesh.registry import Mirror

__all__ = ["Up", "UpOptions"]

_DRAIN_GRACE_S = 40.0
_RECONCILE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `graphmesh up` was asked for."""

    mesh: MeshFile
    """What to run."""
    mesh_path: Path | None
    """Where it was read from; None for a mesh without workers."""
    run_dir: Path
    """Where state, sockets, logs and etcd's data live."""
    etcd: tuple[str, ...]
    """etcd's endpoints; empty starts one."""
    insecure_bind: bool
    """Allows a gateway that listens on other than loopback."""
    ready_timeout_s: float
    """How long models may take to load."""


class Up:
    """One run of `graphmesh up`.

    Args:
        options: What to run.
        say: Receives every line of progress.
    """

    def __init__(self, options: UpOptions, *, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._workers: dict[str, Child] = {}
        self._gateway: Child | None = None
        self._gateway_id = new_id("gateway")  # of this run alone: by it the gateway is told from another one
        self._etcd: LocalEtcd | None = None
        self._stop = asyncio.Event()
        self._me = mark(os.getpid())
        self._written: MeshState | None = None
        self._refused: list[str] = []

    @property
    def address(self) -> str:
        """`host:port` of the gateway, as reached from this machine."""
        gateway = self._options.mesh.gateway
        return local_address(gateway.bind, gateway.port)

    async def run(self) -> None:
        """Run until SIGTERM or Ctrl-C.

        Raises:
            StartFailed: something could not start; everything started before has been stopped.
        """
        self._claim()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            async with AsyncExitStack() as stack:
                check_ports(self._options.mesh.gateway)
                graphs = load_graphs(self._options.mesh.graphs)  # before anything is started: a file may be wrong
                stack.callback(self._write, "stopping")
                await self._run_until_stopped(stack, graphs)
            (self._options.run_dir / "mesh.json").unlink(missing_ok=True)
        except GraphmeshError as error:
            self._write("failed", error.message)
            raise
        self._say("stopped")

    def _claim(self) -> None:
        run_dir = self._options.run_dir
        run_dir.mkdir(parents=True, exist_ok=True)
        check_none_runs(run_dir)
        self._write("starting")

    def _write(self, phase: str, message: str = "") -> None:
        """Write the state if it has changed."""
        pids = {child.name: child.pid for child in (self._gateway, *self._workers.values()) if child is not None}
        if self._etcd is not None:
            pids["etcd"] = self._etcd.pid
        children = {}
        for name, pid in pids.items():
            if pid:
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
                    children[name] = mark(pid)
        state = MeshState(supervisor=self._me, phase=phase, gateway=self.address, message=message, children=children)
        if state != self._written:
            self._written = state
            write_state(self._options.run_dir, state)

    async def _run_until_stopped(self, stack: AsyncExitStack, graphs: Mapping[str, Graph]) -> None:
        began = time.monotonic()
        endpoints = self._options.etcd or (await self._start_etcd(stack),)
        registry = await stack.enter_async_context(Registry(connect(endpoints), mesh=self._options.mesh.mesh))
        mirror = await stack.enter_async_context(registry.mirror())
        await self._start_gateway(stack, endpoints)
        stack.push_async_callback(self._stop_workers)
        await self._start_workers(endpoints)
        ready = asyncio.create_task(self._become_ready(mirror, graphs))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                return
            await ready
            self._say_ready(time.monotonic() - began, mirror)
            self._write("ready")
            await self._keep(mirror, endpoints)
        finally:
            for task in (ready, stopping):
                task.cancel()
            await asyncio.gather(ready, stopping, return_exceptions=True)

    async def _start_etcd(self, stack: AsyncExitStack) -> str:
        self._etcd = await stack.enter_async_context(LocalEtcd(self._options.run_dir / "etcd"))
        self._say(f"etcd listens on {self._etcd.endpoint}")
        return self._etcd.endpoint

    async def _start_gateway(self, stack: AsyncExitStack, endpoints: tuple[str, ...]) -> None:
        entry = self._options.mesh.gateway
        arguments = [
            "gateway",
            *self._common(endpoints),
            *("--gateway-id", self._gateway_id, "--bind", entry.bind, "--port", str(entry.port)),
            *("--grpc-port", str(entry.grpc_port), "--metrics-port", str(entry.metrics_port)),
            *("--run-dir", str(self._options.run_dir / "gateway")),
            *(["--insecure-bind"] if self._options.insecure_bind else []),
        ]
        self._gateway = Child("gateway", arguments, say=self._say)
        stack.push_async_callback(self._gateway.stop, grace_s=_DRAIN_GRACE_S)
        await self._gateway.start()
        self._write("starting")

    def _common(self, endpoints: tuple[str, ...]) -> list[str]:
        etcd = [argument for endpoint in endpoints for argument in ("--etcd", endpoint)]
        mesh = self._options.mesh
        return ["--mesh", mesh.mesh, "--max-message-mib", str(mesh.max_message_mib), *etcd]

    async def _start_workers(self, endpoints: tuple[str, ...]) -> None:
        for group in self._options.mesh.workers:
            for number in range(1, group.replicas + 1):
                await self._start_worker(f"{group.name}-{number}", ("--group", group.name), endpoints)
        self._write("starting")

    async def _start_worker(self, worker_id: str, what: tuple[str, str], endpoints: tuple[str, ...]) -> None:
        arguments = ["worker", "--worker-id", worker_id, "--mesh-file", str(self._options.mesh_path), *what]
        child = Child(worker_id, [*arguments, *self._common(endpoints)], say=self._say)
        self._workers[worker_id] = child
        await child.start()

    async def _stop_workers(self) -> None:
        await asyncio.gather(*(child.stop(grace_s=_DRAIN_GRACE_S) for child in self._workers.values()))

    async def _become_ready(self, mirror: Mirror, graphs: Mapping[str, Graph]) -> None:
        children = [child for child in (self._gateway, *self._workers.values()) if child is not None]
        try:
            async with readiness.failing_with(children), asyncio.timeout(self._options.ready_timeout_s):
                await readiness.workers_registered(mirror, tuple(self._workers), say=self._say)
                await readiness.gateway_registered(mirror, self._gateway_id)
                await readiness.gateway_answers(self.address)
                applied = await self._apply_graphs(graphs)
                await readiness.models_routed(self.address, mirror, applied)
        except TimeoutError:
            missing = sorted(self._workers.keys() - mirror.snapshot.workers.keys())
            raise StartFailed(
                f"not ready after {self._options.ready_timeout_s:.0f} s; still missing: "
                f"{', '.join(missing) or 'the gateway'}; give it longer with --ready-timeout"
            ) from None

    async def _apply_graphs(self, graphs: Mapping[str, Graph]) -> set[str]:
        """Apply graphs and return the names of those that are live; one that is refused keeps no other from serving."""
        applied = set()
        async with ControlClient(self.address) as client:
            for path, graph in graphs.items():
                request = graph_service_pb2.ApplyGraphRequest(graph=graph_to_wire(graph))
                try:
                    revision = await client.call(client.graphs.ApplyGraph, request)
                except (Unavailable, DeadlinePassed) as error:
                    raise StartFailed(f"graph {graph.name} from {path} was not applied: {error.message}") from error
                except GraphmeshError as error:
                    self._say(f"graph {graph.name} from {path} was refused: {error.message}")
                    self._refused.append(graph.name)
                    continue
                self._say(f"graph {graph.name} is live at revision {revision.revision}")
                applied.add(graph.name)
        return applied

    def _say_ready(self, seconds: float, mirror: Mirror) -> None:
        models = readiness.described(list(self._options.mesh.models()), mirror.snapshot)
        refused = f"; graphs refused: {', '.join(self._refused)} (see above)" if self._refused else ""
        self._say(f"ready after {seconds:.1f} s; gRPC and REST on {self.address}; models: {models}{refused}")

    async def _keep(self, mirror: Mirror, endpoints: tuple[str, ...]) -> None:
        base = base_replicas(self._options.mesh)
        declared = set(self._workers)
        while not self._stop.is_set():
            wanted = {name: spec.replicas for name, spec in mirror.snapshot.models.items()}
            extra = extra_workers(base, wanted)
            for worker_id in extra.keys() - self._workers.keys():
                await self._start_worker(worker_id, ("--only", extra[worker_id]), endpoints)
            for worker_id in self._workers.keys() - extra.keys() - declared:
                await self._workers.pop(worker_id).stop(grace_s=_DRAIN_GRACE_S)
            self._write("ready")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _RECONCILE_S)
        self._say("stopping: workers finish what they have")
