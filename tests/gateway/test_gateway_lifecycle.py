"""Faults: processes killed, stopped and started again while requests flow; every count of failed requests must be 0."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import grpc
import pytest

from graphmesh.cli.ports import free_port
from graphmesh.gateway.os_process import OsProcess
from graphmesh.oip import open_inference_pb2_grpc as pb_grpc
from tests.gateway.harness import eventually, http, request_for, worker_of

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from tests.gateway.harness import GatewayProcess, Mesh

pytestmark = [pytest.mark.etcd, pytest.mark.e2e, pytest.mark.fault]

RATE = 100.0


class Load:
    """Calls of 20 ms at a fixed rate until the block ends; counts outcomes and who answered."""

    def __init__(self, gateway: GatewayProcess, *, id: str = "sleep:20") -> None:  # noqa: A002
        self._gateway = gateway
        self._id = id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.outcomes: Counter[str] = Counter()
        self.workers: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        time.sleep(0.5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        time.sleep(0.5)
        self._stop.set()
        self._thread.join()

    @property
    def failed(self) -> dict[str, int]:
        """Failures by what they said."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "ok"}

    def _run(self) -> None:
        with self._gateway.channel() as channel, ThreadPoolExecutor(32) as pool:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            started, count = time.monotonic(), 0
            while not self._stop.is_set():
                pool.submit(self._call, stub)
                count += 1
                time.sleep(max(0.0, started + count / RATE - time.monotonic()))

    def _call(self, stub: pb_grpc.GRPCInferenceServiceStub) -> None:
        try:
            answer = stub.ModelInfer(request_for(id=self._id), timeout=5)
        except grpc.RpcError as error:
            self.outcomes[f"{error.code().name}: {error.details()}"] += 1
        else:
            self.outcomes["ok"] += 1
            self.workers[worker_of(answer)] += 1


def serve(mesh: Mesh, *workers: str) -> GatewayProcess:
    """Start workers with model `add` and a gateway; return once every worker takes requests."""
    for worker in workers:
        mesh.start_worker(worker, "add")
    gateway = mesh.start_gateway()
    for worker in workers:
        gateway.wait_for_worker(worker)
    return gateway


def records(mesh: Mesh, gateway: GatewayProcess) -> set[str]:
    """Return the ids of registered workers."""
    return {worker["worker_id"] for worker in http(f"{gateway.url}/v1/workers").json["workers"]}


def test_killed_worker_is_invisible(mesh: Mesh) -> None:
    """A worker killed under load fails no request, its record goes with its lease, a newcomer takes traffic at once."""
    first = mesh.start_worker("w1", "add")
    gateway = serve(mesh, "w2")
    with Load(gateway) as load:
        first.kill()
        killed = time.monotonic()
        time.sleep(0.5)
        newcomer = mesh.start_worker("w3", "add")
        registered = eventually(lambda: "w3" in records(mesh, gateway) and time.monotonic(), within_s=10)
        eventually(lambda: load.workers["w3"], within_s=1.0)
        took = time.monotonic() - registered
        eventually(lambda: "w1" not in records(mesh, gateway), within_s=8)
        gone = time.monotonic() - killed
    assert load.failed == {}
    assert took < 1
    assert gone < 5 + 1 + 0.5
    assert newcomer.popen.poll() is None


def test_worker_killed_with_many_requests_in_flight(mesh: Mesh) -> None:
    """A worker killed while it holds dozens of slow requests fails none: each is repeated on the other worker."""
    first = mesh.start_worker("w1", "add")
    gateway = serve(mesh, "w2")
    gateway.wait_for_worker("w1")
    with gateway.channel() as channel, ThreadPoolExecutor(80) as pool:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        calls = [pool.submit(stub.ModelInfer, request_for(id="sleep:1500"), timeout=15) for _ in range(80)]
        time.sleep(0.7)
        assert not any(call.done() for call in calls)
        first.kill()
        answers = Counter(_outcome(call) for call in calls)
    assert answers == {"w2": 80}


def _outcome(call: Future[Any]) -> str:
    try:
        return worker_of(call.result())
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


def test_compressed_calls_ignore_the_users_proxy(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressed call reaches the gateway's own listener though the environment names a proxy."""
    mesh.start_worker("w1", "add")
    with monkeypatch.context() as patch:
        patch.setenv("grpc_proxy", f"http://127.0.0.1:{free_port()}")
        gateway = mesh.start_gateway()
    gateway.wait_for_worker("w1")
    assert worker_of(gateway.infer(request_for(), compression=grpc.Compression.Gzip)) == "w1"


def test_hung_worker_is_avoided(mesh: Mesh) -> None:
    """A stopped worker is avoided within 5 s, and comes back after it goes on."""
    hung = mesh.start_worker("w1", "add", ttl_s=60)
    gateway = serve(mesh, "w2")
    hung.popen.send_signal(signal.SIGSTOP)
    time.sleep(5)
    with gateway.channel() as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        answers = [worker_of(stub.ModelInfer(request_for(), timeout=2)) for _ in range(20)]
        assert set(answers) == {"w2"}
        hung.popen.send_signal(signal.SIGCONT)
        eventually(lambda: worker_of(stub.ModelInfer(request_for(), timeout=2)) == "w1", within_s=5)


def test_draining_worker_finishes_and_gets_nothing_new(mesh: Mesh) -> None:
    """SIGTERM of a worker under load fails no request: what it has finishes, on unary calls and on an open stream."""
    leaving = mesh.start_worker("w1", "add")
    gateway = serve(mesh, "w2")
    with Load(gateway, id="sleep:300") as load:
        assert leaving.terminate() == 0
        eventually(lambda: records(mesh, gateway) == {"w2"}, within_s=5)
    assert load.failed == {}


def test_control_plane_killed_and_started_again(mesh: Mesh) -> None:
    """SIGKILL of the control plane: no request fails, Envoy stays, the new one adopts it and goes on from there."""
    gateway = serve(mesh, "w1", "w2")
    pid = gateway.envoy_pid
    with Load(gateway) as load:
        gateway.kill()
        time.sleep(2)
        again = mesh.start_gateway(gateway.config)
        assert again.envoy_pid == pid
        mesh.start_worker("w3", "add")
        eventually(lambda: load.workers["w3"], within_s=10)
    assert load.failed == {}
    assert b"envoy adopted" in again.log.read_bytes()
    eventually(
        lambda: [one["gateway_id"] for one in http(f"{again.url}/v1/status").json["gateways"]] == ["g1"], within_s=10
    )


def test_control_plane_starts_while_etcd_is_down(mesh: Mesh) -> None:
    """With an Envoy to adopt, a control plane that cannot read the registry leaves its endpoints alone."""
    gateway = serve(mesh, "w1", "w2")
    with Load(gateway) as load:
        gateway.kill()
        mesh.etcd.kill()
        again = mesh.start_gateway(gateway.config, wait=False)
        time.sleep(3)
        assert again.popen.poll() is None
        answer = http(f"{gateway.url}/v1/models")
        assert (answer.status, answer.json["status"]) == (503, "UNAVAILABLE")
        mesh.start_etcd()
        eventually(lambda: http(f"{gateway.url}/v1/models").status == 200, within_s=5)
    assert load.failed == {}


def test_envoy_killed(mesh: Mesh) -> None:
    """Envoy killed: back and serving within 3 s, with every endpoint, under another process id."""
    gateway = serve(mesh, "w1", "w2")
    for _ in range(2):
        pid = gateway.envoy_pid
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda: worker_of(gateway.infer(request_for(), timeout=1)), within_s=3)
        assert time.monotonic() - killed < 3
        assert gateway.envoy_pid != pid
        assert {worker_of(gateway.infer(request_for())) for _ in range(12)} == {"w1", "w2"}


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_etcd_away(mesh: Mesh, fault: signal.Signals) -> None:
    """Etcd killed or stopped: no inference fails, reads go on, changes are refused within 2 s, all converges after."""
    gateway = serve(mesh, "w1", "w2")
    graph = json.dumps(
        {
            "inputs": [{"name": "x"}],
            "nodes": [{"name": "a", "inputs": [{"name": "x", "source": "x"}], "model": {"name": "add"}}],
            "outputs": [{"name": "y", "source": "a.y"}],
        }
    ).encode()
    with Load(gateway) as load:
        mesh.etcd.popen.send_signal(fault)
        eventually(lambda: not http(f"{gateway.url}/v1/status").json["etcd_connected"], within_s=4)
        started = time.monotonic()
        answer = http(f"{gateway.url}/v1/graphs/g", body=graph, method="PUT")
        assert time.monotonic() - started < 2.3
        assert (answer.status, answer.json["status"]) == (503, "UNAVAILABLE")
        assert "etcd" in answer.json["error"]
        status = http(f"{gateway.url}/v1/status").json
        assert status["etcd_connected"] is False
        assert status["ready_workers"] == 2
        if fault == signal.SIGSTOP:
            mesh.etcd.popen.send_signal(signal.SIGCONT)
        else:
            mesh.etcd.popen.wait()
            mesh.start_etcd()
        eventually(lambda: http(f"{gateway.url}/v1/status").json["etcd_connected"], within_s=5)
        eventually(lambda: http(f"{gateway.url}/v1/graphs/g", body=graph, method="PUT").status == 200, within_s=5)
    assert load.failed == {}
    assert records(mesh, gateway) == {"w1", "w2"}


def test_sigterm_drains(mesh: Mesh) -> None:
    """SIGTERM of the gateway: a request in flight finishes, Envoy ends, its record goes, the exit code is 0."""
    gateway = serve(mesh, "w1")
    pid = gateway.envoy_pid
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(gateway.infer, request_for(id="sleep:1000"))
        time.sleep(0.3)
        assert gateway.terminate() == 0
        assert worker_of(slow.result()) == "w1"
    assert OsProcess.find(pid) is None
    other = mesh.start_gateway(mesh.gateway_config("g2"))
    listed = eventually(lambda: http(f"{other.url}/v1/status").json["gateways"], within_s=5)
    assert [one["gateway_id"] for one in listed] == ["g2"]


def test_two_gateways_on_one_machine(mesh: Mesh) -> None:
    """Two gateways serve one mesh; a graph applied through one is known to the other when apply returns."""
    first = serve(mesh, "w1")
    second = mesh.start_gateway(mesh.gateway_config("g2"))
    eventually(lambda: worker_of(second.infer(request_for())) == "w1", within_s=5)
    eventually(lambda: len(http(f"{first.url}/v1/status").json["gateways"]) == 2, within_s=5)
    for revision in range(1, 6):
        graph = {
            "description": f"revision {revision}",
            "inputs": [{"name": "x"}],
            "nodes": [{"name": "a", "inputs": [{"name": "x", "source": "x"}], "model": {"name": "add"}}],
            "outputs": [{"name": "y", "source": "a.y"}],
        }
        started = time.monotonic()
        answer = http(f"{first.url}/v1/graphs/twice", body=json.dumps(graph).encode(), method="PUT")
        assert time.monotonic() - started < 1
        assert answer.json["revision"] == str(revision)
        for gateway in (first, second):
            seen = gateway.infer(request_for("twice", id="echo-headers")).parameters["headers"].string_param
            assert json.loads(seen)["x-graphmesh-graph-revision"] == str(revision)


def test_port_in_use(mesh: Mesh) -> None:
    """A port that something listens on is named, with the next step, before anything starts."""
    gateway = serve(mesh, "w1")
    config = mesh.gateway_config("g2", port=gateway.config["port"])
    refused = mesh.start_gateway(config, wait=False)
    assert refused.popen.wait(10) == 2
    said = refused.log.read_text()
    assert f"port {gateway.config['port']} on 127.0.0.1 must be free" in said
    assert "choose another port" in said
    assert worker_of(gateway.infer(request_for()))


def test_run_folder_in_use(mesh: Mesh) -> None:
    """A second gateway in one run folder is refused."""
    gateway = serve(mesh, "w1")
    config = mesh.gateway_config("g2", run_dir=gateway.config["run_dir"])
    refused = mesh.start_gateway(config, wait=False)
    assert refused.popen.wait(10) == 2
    assert "another gateway" in refused.log.read_text()


def test_no_etcd(mesh: Mesh) -> None:
    """Without etcd and without an Envoy to adopt, the start fails within about 5 s and says what to do."""
    started = time.monotonic()
    gateway = mesh.start_gateway(mesh.gateway_config(etcd=[f"127.0.0.1:{free_port()}"]), wait=False)
    assert gateway.popen.wait(10) == 2
    assert time.monotonic() - started < 7.5
    assert "etcd must answer at" in gateway.log.read_text()


def test_changed_configuration_replaces_envoy(mesh: Mesh) -> None:
    """A gateway that starts with another configuration stops the Envoy left over and starts its own."""
    gateway = serve(mesh, "w1")
    pid = gateway.envoy_pid
    gateway.kill()
    again = mesh.start_gateway({**gateway.config, "port": free_port()})
    assert again.envoy_pid != pid
    assert worker_of(again.infer(request_for())) == "w1"
    assert OsProcess.find(pid) is None
