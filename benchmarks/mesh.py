"""graphmesh itself under test: a worker without a gateway, and whole meshes as `graphmesh up` starts them.

Three meshes differ in what they host: `single` has the trivial model, async and sync; `fused` has the four models of a
chain on one worker; `remote` has them on four. All of a mesh's processes are counted: Envoy, control plane, workers,
etcd and the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import yaml

from benchmarks.calls import fast_path_call, grpc_call, natural_call, oip_call
from benchmarks.scenarios import Scenario
from benchmarks.servers import ServerFailed, System, start
from graphmesh.cli.http import get
from graphmesh.cli.ports import free_port
from graphmesh.cli.state import read_state
from graphmesh.client import ControlClient
from graphmesh.registry import LocalEtcd
from graphmesh.v1 import mesh_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from benchmarks.servers import Server

__all__ = ["chains", "diamond", "gateways", "workers"]

_MODELS = {"async": "Add", "sync": "AddSync"}
_SOURCES = Path(__file__).with_name("models.py")
_GRAPHMESH = (sys.executable, "-m", "graphmesh.cli")
_STEPS = 4
_LONG = 12


@contextlib.asynccontextmanager
async def workers(folder: Path) -> AsyncIterator[list[Scenario]]:
    """Run one worker and yield a scenario for each of its shells and kinds of model."""
    http, grpc = free_port(), free_port()
    models = [part for name, source in _models("add", _MODELS) for part in ("--model", f"{name}={source}")]
    ports = ("--http-port", str(http), "--grpc-port", str(grpc))
    async with LocalEtcd(folder / "etcd") as etcd:
        command = (*_GRAPHMESH, "worker", "--worker-id", "bench", *models, *ports, "--etcd", etcd.endpoint)
        async with start("worker", command, folder=folder) as server:
            await server.wait(lambda: _answers(f"http://127.0.0.1:{http}/healthz/ready"))
            system = System(parts={"worker": (server.root,)})
            yield [
                Scenario(
                    name=f"worker-{kind}-{shell}",
                    title=f"worker alone, {label}, {kind} model",
                    system=system,
                    calls=(make(f"127.0.0.1:{port}", f"add-{kind}"),),
                )
                for kind in _MODELS
                for shell, label, make, port in (
                    ("fast", "fast path", fast_path_call, http),
                    ("natural", "natural JSON", natural_call, http),
                    ("oip", "OIP JSON", oip_call, http),
                    ("grpc", "gRPC", grpc_call, grpc),
                )
            ]


@contextlib.asynccontextmanager
async def gateways(folder: Path) -> AsyncIterator[list[Scenario]]:
    """Run gateway and worker with the trivial model and yield a scenario for each protocol and kind of model."""
    document = {"workers": [_group("all", _models("add", _MODELS))]}
    async with _mesh("single", document, folder) as mesh:
        yield [
            Scenario(
                name=f"mesh-{kind}-{protocol}",
                title=f"gateway + worker, {label}, {kind} model",
                system=mesh.system,
                calls=(make(mesh.address, f"add-{kind}"),),
            )
            for kind in _MODELS
            for protocol, label, make in (("grpc", "gRPC", grpc_call), ("natural", "natural JSON", natural_call))
        ]


@contextlib.asynccontextmanager
async def chains(folder: Path) -> AsyncIterator[list[Scenario]]:
    """Run the chain of four models fused and remote and yield scenarios for both, and for a client that chains."""
    every = [(f"step-{number}", f"{_SOURCES}:Add") for number in range(1, _LONG + 1)]
    steps, names = every[:_STEPS], [name for name, _ in every[:_STEPS]]
    graph, long = folder / "chain.yaml", folder / "long.yaml"
    graph.write_text(yaml.safe_dump(_chain("chain", names), sort_keys=False))
    long.write_text(yaml.safe_dump(_chain("long", [name for name, _ in every]), sort_keys=False))
    fused = {"workers": [_group("all", every)], "graphs": [str(graph), str(long)]}
    remote = {"workers": [_group(name, [(name, source)]) for name, source in steps], "graphs": [str(graph)]}
    async with _mesh("fused", fused, folder) as one, _mesh("remote", remote, folder) as four:
        by_client = tuple(grpc_call(one.address, name) for name in names)
        yield [
            _alone("chain-worker", one, "chain", _STEPS),
            _alone("chain-long", one, "long", _LONG),
            _chain_scenario("chain-fused", "chain of 4, fused on one worker", one),
            _chain_scenario("chain-remote", "chain of 4, on four workers", four),
            Scenario(name="chain-client", title="chain of 4, by the client", system=one.system, calls=by_client),
        ]


@contextlib.asynccontextmanager
async def diamond(folder: Path) -> AsyncIterator[str]:
    """Run four slow models on one worker, and a graph of them that forks and joins; yield the gateway's address."""
    one, two = f"{_SOURCES}:Slow", f"{_SOURCES}:SlowSum"
    graph = folder / "fork-and-join.yaml"
    nodes = {
        "first": {"model": "first", "inputs": {"x": "x"}},
        "left": {"model": "left", "inputs": {"x": "first.y"}},
        "right": {"model": "right", "inputs": {"x": "first.y"}},
        "last": {"model": "last", "inputs": {"a": "left.y", "b": "right.y"}},
    }
    document = {"name": "diamond", "inputs": {"x": None}, "nodes": nodes, "outputs": {"y": "last.y"}}
    graph.write_text(yaml.safe_dump(document, sort_keys=False))
    models = [("first", one), ("left", one), ("right", one), ("last", two)]
    async with _mesh("diamond", {"workers": [_group("all", models)], "graphs": [str(graph)]}, folder) as running:
        yield running.address


@dataclass(frozen=True, slots=True)
class _Mesh:
    address: str
    worker: str
    system: System


def _chain_scenario(name: str, title: str, mesh: _Mesh) -> Scenario:
    return Scenario(name=name, title=title, system=mesh.system, calls=(grpc_call(mesh.address, "chain", steps=_STEPS),))


def _alone(name: str, mesh: _Mesh, graph: str, steps: int) -> Scenario:
    """Return a graph called at the worker itself, whose processes alone are counted."""
    return Scenario(
        name=name,
        title=f"chain of {steps}, fused, worker alone",
        system=System(parts={"worker": mesh.system.parts["worker"]}),
        calls=(fast_path_call(mesh.worker, graph, steps=steps),),
    )


def _chain(name: str, steps: Sequence[str]) -> dict[str, object]:
    sources = ["x", *(f"{step}.y" for step in steps)]
    edges = zip(steps, sources[:-1], strict=True)
    nodes = [{"name": step, "model": step, "inputs": {"x": source}} for step, source in edges]
    return {"name": name, "inputs": [{"name": "x"}], "nodes": nodes, "outputs": {"y": sources[-1]}}


def _models(prefix: str, kinds: dict[str, str]) -> list[tuple[str, str]]:
    return [(f"{prefix}-{kind}", f"{_SOURCES}:{name}") for kind, name in kinds.items()]


def _group(name: str, models: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {"name": name, "models": [{"name": model, "source": source} for model, source in models]}


@contextlib.asynccontextmanager
async def _mesh(name: str, document: Mapping[str, object], folder: Path) -> AsyncIterator[_Mesh]:
    port, run_dir = free_port(), folder / name
    gateway = {"port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"mesh": name, "gateway": gateway, **document}, sort_keys=False))
    command = (*_GRAPHMESH, "up", str(path), "--run-dir", str(run_dir))
    async with start(name, command, folder=folder) as server:
        await server.wait(lambda: _is_ready(run_dir))
        address = f"127.0.0.1:{port}"
        yield _Mesh(address, await _a_worker(address), System(parts=await _parts(server, run_dir, address)))


async def _answers(url: str) -> bool:
    return (await asyncio.to_thread(get, url)).status == 200


async def _is_ready(run_dir: Path) -> bool:
    state = read_state(run_dir)
    return state is not None and state.phase == "ready"


async def _a_worker(address: str) -> str:
    """Return where one of the mesh's workers takes HTTP."""
    async with ControlClient(address) as client:
        answer = await client.call(client.mesh.ListWorkers, mesh_service_pb2.ListWorkersRequest())
    worker = answer.workers[0]
    return f"{worker.host}:{worker.http_port}"


async def _parts(server: Server, run_dir: Path, address: str) -> dict[str, tuple[psutil.Process, ...]]:
    """Return the mesh's processes by part; Envoy is nobody's child, the control plane knows it."""
    async with ControlClient(address) as client:
        status = await client.call(client.mesh.GetStatus, mesh_service_pb2.GetStatusRequest())
    envoy = psutil.Process(status.envoy_pid)
    server.own(envoy)
    state = read_state(run_dir)
    if state is None:
        raise ServerFailed(f"{run_dir} must hold the state of a running mesh")
    children = {name: psutil.Process(mark.pid) for name, mark in state.children.items()}
    return {
        "envoy": (envoy,),
        "worker": tuple(process for name, process in children.items() if name != "gateway"),
        "control": (server.root, children["gateway"]),
    }
