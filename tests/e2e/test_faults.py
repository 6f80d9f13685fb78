"""What must not be seen by a client: a worker, etcd, the control plane or Envoy dying under load.

Real processes, real signals, 100 requests/s, client retries off: every outcome is recorded and none may fail.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from graphmesh.cli.ports import free_port
from graphmesh.registry import Registry, connect, find_etcd
from tests.e2e.load import Load
from tests.e2e.running import MODELS, Processes, RunningMesh, graphmesh, start_mesh, stop_mesh

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.fault, pytest.mark.etcd, pytest.mark.timeout(150)]

_TTL_S = 3.0
_RATE = 100.0


class Etcd:
    """An etcd that the test kills, stops and starts again on the same address and data."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.endpoint = f"127.0.0.1:{free_port()}"
        self._processes, self._data, self._peer = processes, folder / "etcd-data", free_port()
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, again if it was killed."""
        client, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{self._peer}"
        self.process = self._processes.start(
            "etcd",
            str(find_etcd().path),
            *("--data-dir", str(self._data), "--listen-client-urls", client, "--advertise-client-urls", client),
            *(
                "--listen-peer-urls",
                peer,
                "--initial-advertise-peer-urls",
                peer,
                "--initial-cluster",
                f"default={peer}",
            ),
        )
        return self.process


async def _eventually(check: Callable[[], bool], *, within_s: float, what: str) -> float:
    began = time.monotonic()
    while not await asyncio.to_thread(check):
        assert time.monotonic() - began < within_s, f"{what} must happen within {within_s} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


class Scene:
    """An etcd, a gateway kept by `graphmesh up`, and workers started by hand."""

    def __init__(self, etcd: Etcd, mesh: RunningMesh, processes: Processes) -> None:
        self.etcd, self.mesh, self.processes = etcd, mesh, processes

    def worker(self, worker_id: str) -> subprocess.Popen[bytes]:
        """Start a worker that hosts `slow`."""
        return self.processes.worker(
            worker_id, self.etcd.endpoint, "--model", f"slow={MODELS}:Slow", "--ttl", str(_TTL_S)
        )

    def ready_workers(self) -> int:
        """Return how many workers the gateway knows to be ready."""
        return int(self.mesh.status().get("ready_workers", 0))

    async def workers(self, *worker_ids: str) -> list[subprocess.Popen[bytes]]:
        """Start workers and wait until calls reach them."""
        started = [self.worker(worker_id) for worker_id in worker_ids]
        await _eventually(lambda: self.ready_workers() >= len(started), within_s=30, what="registration")
        call = ("infer", "slow", "x=[1]")
        await _eventually(
            lambda: self.mesh.graphmesh(*call, check=False).returncode == 0, within_s=10, what="the first answer"
        )
        return started


@pytest.fixture
async def scene(tmp_path: Path, processes: Processes) -> AsyncIterator[Scene]:
    """An etcd and a mesh without workers."""
    etcd = Etcd(processes, tmp_path)
    mesh = await asyncio.to_thread(start_mesh, tmp_path / "mesh", "workers: []", "--etcd", etcd.endpoint)
    yield Scene(etcd, mesh, processes)
    await asyncio.to_thread(stop_mesh, mesh)


def _nothing_failed(load: Load) -> None:
    assert len(load.outcomes) > _RATE
    assert not load.failed(), f"{len(load.failed())} of {len(load.outcomes)} failed, first {load.failed()[:3]}"


async def test_a_killed_worker_is_invisible_and_a_new_one_takes_traffic(scene: Scene) -> None:
    """SIGKILL of one of two workers fails no request, its record goes within TTL + 1 s, a third serves within 1 s."""
    victim, _ = await scene.workers("first", "second")
    async with Registry(connect((scene.etcd.endpoint,))) as registry, Load(scene.mesh.address, "slow", _RATE) as load:
        await asyncio.sleep(1)
        os.kill(victim.pid, signal.SIGKILL)
        killed = time.monotonic()
        third = scene.worker("third")
        registered = gone = 0.0
        while not (registered and gone and load.first_from(third.pid)):
            assert time.monotonic() - killed < 30, f"registered={registered} gone={gone}"
            workers = (await registry.read()).workers
            registered = registered or ("third" in workers and time.monotonic())
            gone = gone or ("first" not in workers and time.monotonic())
            await asyncio.sleep(0.02)
    _nothing_failed(load)
    assert gone - killed <= _TTL_S + 1
    served = load.first_from(third.pid)
    assert served is not None
    assert served - registered <= 1.0


async def _graph_apply_is_refused(scene: Scene) -> None:
    graph = scene.mesh.run_dir / "twice.yaml"
    graph.write_text(
        "name: twice\ninputs: [{name: x}]\nnodes:\n  - {name: a, model: slow, inputs: {x: x}}\n"
        "  - {name: b, model: slow, inputs: {x: a.y}}\noutputs: {y: b.y}\n"
    )
    began = time.monotonic()
    refused = await asyncio.to_thread(scene.mesh.graphmesh, "graph", "apply", str(graph), check=False)
    starting_python_s = 2.0  # on a busy machine, beside the two seconds that the mesh may take
    assert time.monotonic() - began < 2 + starting_python_s
    assert refused.returncode == 3
    assert "etcd" in refused.stderr


async def _converges(scene: Scene) -> None:
    apply = ("graph", "apply", str(scene.mesh.run_dir / "twice.yaml"))
    call = ("infer", "twice", "x=[1]")
    began = time.monotonic()
    for command in (apply, call):
        await _eventually(
            lambda command=command: scene.mesh.graphmesh(*command, check=False).returncode == 0,  # type: ignore[misc]
            within_s=5,
            what=" ".join(command[:2]),
        )
    async with Registry(connect((scene.etcd.endpoint,))) as registry:
        while set((await registry.read()).workers) != {"first", "second"}:
            assert time.monotonic() - began < 5, "both workers must be registered again"
            await asyncio.sleep(0.05)
    await _eventually(lambda: not scene.mesh.status()["held_workers"], within_s=5, what="letting go of held workers")
    status = scene.mesh.status()
    assert (status["etcd_connected"], status["ready_workers"]) == (True, 2)
    assert time.monotonic() - began < 5 + 2, "convergence, with the start of two commands"


async def test_etcd_killed_for_thirty_seconds(scene: Scene) -> None:
    """While etcd is dead no inference fails and changes are refused; after its return all converges within 5 s."""
    await scene.workers("first", "second")
    async with Load(scene.mesh.address, "slow", _RATE) as load:
        await asyncio.sleep(0.5)
        os.kill(scene.etcd.process.pid, signal.SIGKILL)
        scene.etcd.process.wait()
        await _eventually(lambda: not scene.mesh.status().get("etcd_connected"), within_s=5, what="noticing")
        await _graph_apply_is_refused(scene)
        await asyncio.sleep(30)
        scene.etcd.start()
        await _converges(scene)
    _nothing_failed(load)


async def test_etcd_stopped_and_continued(scene: Scene) -> None:
    """An etcd that hangs longer than the workers' TTL costs no inference; after SIGCONT all converges within 5 s."""
    await scene.workers("first", "second")
    async with Load(scene.mesh.address, "slow", _RATE) as load:
        os.kill(scene.etcd.process.pid, signal.SIGSTOP)
        await _eventually(lambda: not scene.mesh.status().get("etcd_connected"), within_s=5, what="noticing")
        await _graph_apply_is_refused(scene)
        await asyncio.sleep(2 * _TTL_S)
        os.kill(scene.etcd.process.pid, signal.SIGCONT)
        await _converges(scene)
    _nothing_failed(load)


async def test_control_plane_killed_then_envoy_killed(scene: Scene) -> None:
    """SIGKILL of the control plane fails nothing and leaves Envoy's process; a killed Envoy serves again within 3 s."""
    await scene.workers("first", "second")
    envoy = int(scene.mesh.status()["envoy_pid"])
    control_plane = scene.mesh.gateway_pid()
    async with Load(scene.mesh.address, "slow", _RATE) as load:
        await asyncio.sleep(0.5)
        os.kill(control_plane, signal.SIGKILL)
        await _eventually(
            lambda: scene.mesh.gateway_pid() not in {0, control_plane}, within_s=20, what="a new control plane"
        )
        await _eventually(lambda: bool(scene.mesh.status().get("envoy_pid")), within_s=20, what="its first status")
        await asyncio.sleep(2)
    _nothing_failed(load)
    assert int(scene.mesh.status()["envoy_pid"]) == envoy
    os.kill(envoy, signal.SIGKILL)
    killed = time.monotonic()
    async with Load(scene.mesh.address, "slow", 20) as after:
        await _eventually(lambda: any(o.status == "OK" for o in after.outcomes), within_s=3, what="serving again")
        assert time.monotonic() - killed < 3
        seen = len(after.outcomes)
        await asyncio.sleep(1)
    assert all(outcome.status == "OK" for outcome in after.outcomes[seen + 2 :])
    assert int(scene.mesh.status()["envoy_pid"]) != envoy


async def test_sigterm_of_a_worker_loses_nothing(scene: Scene) -> None:
    """A worker told to stop finishes what it has, exits 0, and no request fails."""
    leaver, _ = await scene.workers("first", "second")
    async with Load(scene.mesh.address, "slow", _RATE) as load:
        await asyncio.sleep(0.5)
        leaver.terminate()
        assert await asyncio.to_thread(leaver.wait, 20) == 0
        await asyncio.sleep(1)
    _nothing_failed(load)


def test_no_etcd_and_a_taken_port_are_clear_errors(tmp_path: Path) -> None:
    """Without etcd, or on a port in use, a process ends with one line that says what to do."""
    nowhere = f"127.0.0.1:{free_port()}"
    worker = graphmesh("worker", "--etcd", nowhere, "--model", f"slow={MODELS}:Slow", check=False)
    assert worker.returncode == 4
    assert nowhere in worker.stderr.splitlines()[-1]
    gateway = graphmesh(
        "gateway", "--etcd", nowhere, "--port", str(free_port()), "--run-dir", str(tmp_path), check=False
    )
    assert gateway.returncode == 4
    assert nowhere in gateway.stderr.splitlines()[-1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ("--port", str(port), "--grpc-port", "0", "--metrics-port", "0", "--run-dir", str(tmp_path / "up"))
        up = graphmesh("up", *flags, check=False, cwd=tmp_path)
    assert up.returncode == 4
    assert str(port) in up.stderr
