"""A mesh for the gateway's tests: real etcd, real Envoy, tiny workers; every part a process that a test may kill."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from graphmesh.cli.ports import free_port
from graphmesh.oip import open_inference_pb2 as pb
from graphmesh.oip import open_inference_pb2_grpc as pb_grpc
from graphmesh.registry import find_etcd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
TTL_S = 5.0


def eventually(check: Callable[[], Any], *, within_s: float, every_s: float = 0.05) -> Any:  # noqa: ANN401 - whatever it returns
    """Return the first true answer of ``check``; fail after ``within_s``. Connection errors count as false."""
    deadline = time.monotonic() + within_s
    while True:
        answer = None
        with contextlib.suppress(OSError, grpc.RpcError):
            answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"must hold within {within_s} s"
        time.sleep(every_s)


@dataclass
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body, parsed."""
        return json.loads(self.body)


def http(
    url: str, *, body: bytes | None = None, method: str | None = None, headers: dict[str, str] | None = None
) -> Reply:
    """Make one HTTP call; an error status is an answer too."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - ours
            return Reply(answer.status, answer.read(), dict(answer.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.read(), dict(error.headers))


def request_for(model: str = "add", *, id: str = "", version: str = "", raw: bytes = b"1234") -> Any:  # noqa: A002, ANN401
    """Return an inference request; the fake workers do what its id says."""
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=id)
    request.inputs.add(name="x", datatype="UINT8", shape=[len(raw)])
    request.raw_input_contents.append(raw)
    return request


def worker_of(response: Any) -> str:  # noqa: ANN401 - generated
    """Return which worker answered."""
    return str(response.parameters["worker"].string_param)


@dataclass
class Process:
    """A process of the mesh."""

    popen: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """SIGKILL it, and wait."""
        self.popen.kill()
        self.popen.wait()

    def terminate(self, *, within_s: float = 15.0) -> int:
        """SIGTERM it, and return its exit code."""
        self.popen.terminate()
        return self.popen.wait(within_s)


@dataclass
class GatewayProcess(Process):
    """A gateway."""

    config: dict[str, Any]

    @property
    def address(self) -> str:
        """Its public listener."""
        return f"127.0.0.1:{self.config['port']}"

    @property
    def url(self) -> str:
        """Its public listener, for REST."""
        return f"http://{self.address}"

    @property
    def metrics_url(self) -> str:
        """Its metrics listener."""
        return f"http://127.0.0.1:{self.config['metrics_port']}"

    @property
    def envoy_pid(self) -> int:
        """Its Envoy, by the state file."""
        return int(json.loads((Path(self.config["run_dir"]) / "state.json").read_text())["pid"])

    @contextlib.contextmanager
    def channel(self, *, port: int = 0) -> Iterator[grpc.Channel]:
        """A channel to the gateway."""
        address = f"127.0.0.1:{port}" if port else self.address
        options = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options=options) as channel:
            yield channel

    def wait_for_worker(self, worker_id: str) -> None:
        """Return once a worker answers calls of `add`."""
        eventually(lambda: worker_of(self.infer(request_for())) == worker_id, within_s=15)

    def infer(self, request: Any, *, timeout: float | None = 10.0, **options: Any) -> Any:  # noqa: ANN401 - generated
        """Make one unary call."""
        with self.channel() as channel:
            return pb_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=timeout, **options)


class Mesh:
    """Starts the parts of a mesh, and stops whatever is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etcd_port = free_port()
        self._etcd: Process | None = None
        self._processes: list[Process] = []
        self._gateways: list[GatewayProcess] = []

    def _start(self, name: str, command: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True), log

    @property
    def etcd(self) -> Process:
        """The etcd that runs."""
        assert self._etcd
        return self._etcd

    def start_etcd(self) -> None:
        """Start etcd, on the data it had."""
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{free_port()}"
        command = [str(find_etcd().path), f"--data-dir={self.folder / 'etcd'}", f"--listen-client-urls={client}"]
        command += [f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}"]
        self._etcd = Process(*self._start("etcd", command))
        self._processes.append(self._etcd)
        eventually(lambda: http(f"{client}/health").status == 200, within_s=15)

    def start_worker(
        self, worker_id: str, *models: str | dict[str, str], ports: tuple[int, int] | None = None, ttl_s: float = TTL_S
    ) -> Process:
        """Start a fake worker that registers itself."""
        http_port, grpc_port = ports or (free_port(), free_port())
        config = {
            "worker_id": worker_id,
            "etcd": [f"127.0.0.1:{self.etcd_port}"],
            "http_port": http_port,
            "grpc_port": grpc_port,
            "ttl_s": ttl_s,
            "models": [{"name": model} if isinstance(model, str) else model for model in models],
        }
        command = [sys.executable, str(HERE / "fake_worker.py"), json.dumps(config)]
        worker = Process(*self._start(worker_id, command))
        self._processes.append(worker)
        return worker

    def gateway_config(self, gateway_id: str = "g1", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return the fields of a GatewayConfig, with free ports."""
        return {
            "gateway_id": gateway_id,
            "run_dir": str(self.folder / gateway_id),
            "etcd": [f"127.0.0.1:{self.etcd_port}"],
            "port": free_port(),
            "grpc_port": free_port(),
            "metrics_port": free_port(),
            "envoy_concurrency": 1,
            "ttl_s": TTL_S,
            "drain_s": 3.0,
            **fields,
        }

    def start_gateway(self, config: dict[str, Any] | None = None, *, wait: bool = True) -> GatewayProcess:
        """Start a gateway process; ``wait`` until it serves."""
        config = config or self.gateway_config()
        command = [sys.executable, str(HERE / "run_gateway.py"), json.dumps(config)]
        gateway = GatewayProcess(*self._start(config["gateway_id"], command), config=config)
        self._processes.append(gateway)
        self._gateways.append(gateway)
        if wait:
            eventually(lambda: http(f"{gateway.url}/v2/health/ready").status == 200, within_s=15)
        return gateway

    def stop(self) -> None:
        """Kill everything that was started."""
        for gateway in self._gateways:
            with contextlib.suppress(OSError, ValueError):
                os.kill(gateway.envoy_pid, signal.SIGKILL)
        for process in reversed(self._processes):
            with contextlib.suppress(OSError):
                process.popen.send_signal(signal.SIGCONT)
            process.kill()
        for gateway in self._gateways:
            with contextlib.suppress(OSError, ValueError):
                os.kill(gateway.envoy_pid, signal.SIGKILL)


@contextlib.contextmanager
def running_mesh() -> Iterator[Mesh]:
    """Run a mesh of etcd alone; tests add the rest. The folder's path is short, for unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    mesh = Mesh(folder)
    try:
        mesh.start_etcd()
        yield mesh
    finally:
        mesh.stop()
        shutil.rmtree(folder, ignore_errors=True)
