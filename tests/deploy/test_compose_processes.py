"""The containers' own commands, run without containers: every service in a network namespace of its own.

What a container adds is left out (images, volumes, user); what the commands must get right is in: service names that
resolve, addresses that differ per process, nothing shared over loopback, health checks, SIGTERM. Paths inside the
images are replaced by paths here; nothing else of a command is changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.cli.ocr import MESH, PICTURE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Services = dict[str, dict[str, Any]]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.etcd,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

READY_S = 90.0
ETCD_HEALTH = "import urllib.request as r; r.urlopen('http://127.0.0.1:2379/health', timeout=3)"


def ip(*arguments: str) -> str:
    """Run `ip` and return what it printed."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Namespaces on one bridge, which is in a namespace too: nothing of it is outside them."""

    prefix: str
    """Names of the namespaces begin with it."""
    addresses: Mapping[str, str]
    """By host name; every host resolves the others' names."""
    environment: Mapping[str, str]
    """What every command gets, and all it gets."""
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Processes by host name."""

    def command(self, host: str, arguments: Iterable[str]) -> list[str]:
        """Return the command that runs ``arguments`` on a host."""
        return ["ip", "netns", "exec", f"{self.prefix}{host}", *arguments]

    def start(self, host: str, arguments: list[str], log: Path) -> None:
        """Start a process on a host; its output goes to ``log``."""
        with log.open("wb") as output:
            self.started[host] = subprocess.Popen(
                self.command(host, arguments), env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )

    def run(self, host: str, arguments: list[str], *, extra: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run a command on a host to its end; return its exit code and output."""
        done = subprocess.run(
            self.command(host, arguments),
            env={**self.environment, **(extra or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout


@contextlib.contextmanager
def network(hosts: Iterable[str]) -> Iterator[Network]:
    """Make a network for the named hosts; on the way out end what still runs there, by id, and delete it by name."""
    prefix = f"gm{secrets.token_hex(3)}-"
    subnet = f"198.18.{secrets.randbelow(256)}"  # kept for tests between networks (RFC 2544)
    addresses = {host: f"{subnet}.{number}" for number, host in enumerate(hosts, start=10)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    net = Network(prefix=prefix, addresses=addresses, environment={"PATH": path})
    made: list[str] = []
    try:
        _add(f"{prefix}switch", made)
        ip("-n", f"{prefix}switch", "link", "add", "bridge", "type", "bridge")
        ip("-n", f"{prefix}switch", "link", "set", "bridge", "up")
        for host, address in addresses.items():
            _add(f"{prefix}{host}", made)
            _join(f"{prefix}switch", f"{prefix}{host}", f"to-{address.rpartition('.')[2]}", address)
            names = "".join(f"{other} {name}\n" for name, other in addresses.items())
            hosts_file = Path("/etc/netns", f"{prefix}{host}", "hosts")  # `ip netns exec` lays it over /etc/hosts
            hosts_file.parent.mkdir(parents=True)
            hosts_file.write_text(f"127.0.0.1 localhost\n{names}")
        yield net
    finally:
        for name in made:
            _delete(name)
        for process in net.started.values():
            process.wait(timeout=10)


def _add(name: str, made: list[str]) -> None:
    ip("netns", "add", name)
    made.append(name)
    ip("-n", name, "link", "set", "lo", "up")


def _join(switch: str, name: str, port: str, address: str) -> None:
    ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("-n", switch, "link", "set", port, "master", "bridge", "up")
    ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
    ip("-n", name, "link", "set", "eth0", "up")


def _delete(name: str) -> None:
    for pid in ip("netns", "pids", name).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "delete", name)
    hosts_file = Path("/etc/netns", name, "hosts")
    hosts_file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        hosts_file.parent.rmdir()


class Mesh:
    """The compose file's services, as processes on a network."""

    def __init__(self, services: Services, net: Network, folder: Path) -> None:
        self._services = services
        self._net = net
        self._folder = folder

    def local(self, arguments: list[str]) -> list[str]:
        """Return a container's command with the paths of its image replaced."""
        inside = {
            "/usr/local/bin/etcd": "etcd",
            "/var/lib/etcd": f"{self._folder}/etcd",
            "/run/graphmesh": f"{self._folder}/run",
            "/mesh/": f"{MESH.parent}/",
        }
        for there, here in inside.items():
            arguments = [argument.replace(there, here) for argument in arguments]
        return arguments

    def log(self, name: str) -> Path:
        """Return where a service's output goes."""
        return self._folder / f"{name}.log"

    def start(self, name: str) -> None:
        """Start a service and wait until its own health check passes."""
        self._net.start(name, self.local(self._services[name]["command"]), self.log(name))
        # etcd's check calls a program of etcd's image
        check = self._services[name]["healthcheck"]["test"][1:] if name != "etcd" else ["python", "-c", ETCD_HEALTH]
        last, limit = "", time.monotonic() + READY_S
        while time.monotonic() < limit:
            assert self._net.started[name].poll() is None, f"{name} ended: {self.log(name).read_text()}"
            code, last = self._net.run(name, check)
            if code == 0:
                return
            time.sleep(0.3)
        pytest.fail(f"{name} is not healthy: {last}\n{self.log(name).read_text()}")

    def stop(self, name: str) -> int:
        """Stop a service as Compose does; return its exit code."""
        process = self._net.started[name]
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout=float(self._services[name]["stop_grace_period"].removesuffix("s")))
        except subprocess.TimeoutExpired:
            pytest.fail(f"{name} did not stop in time: {self.log(name).read_text()}")

    def ask(self, *arguments: str) -> Any:  # noqa: ANN401 - a JSON document
        """Run a `graphmesh` command where the graphs service runs, return the JSON it prints."""
        code, text = self._net.run("graphs", ["graphmesh", *arguments, "--gateway", "gateway:8000", "-o", "json"])
        assert code == 0, text
        return json.loads(text)

    def apply_graphs(self) -> None:
        """Run the service that applies the graphs."""
        graphs = self._services["graphs"]
        code, text = self._net.run("graphs", self.local(graphs["command"]), extra=graphs["environment"])
        assert code == 0, text


def test_the_containers_commands_make_a_mesh(services: Services) -> None:
    """Started in Compose's order each becomes healthy, the graph answers over the network, and each stops cleanly."""
    order = ("etcd", "gateway", "detection", "recognition")
    with network(services) as net, tempfile.TemporaryDirectory(prefix="gm-") as folder:
        mesh = Mesh(services, net, Path(folder))
        for name in order:
            mesh.start(name)
        mesh.apply_graphs()
        answer = mesh.ask("infer", "ocr", f"image=@{PICTURE}", "--explain")
        assert len(answer["outputs"]["text"]) > 5
        assert {node["fused"] for node in answer["explain"]["nodes"]} == {True, False}
        workers = mesh.ask("workers")["workers"]
        advertised = sorted((worker["host"], worker["http_port"], worker["grpc_port"]) for worker in workers)
        assert advertised == sorted((net.addresses[name], 9000, 9001) for name in order[2:])
        assert {name: mesh.stop(name) for name in reversed(order[1:])} == dict.fromkeys(order[1:], 0)
        for name in order[1:]:
            assert not ip("netns", "pids", f"{net.prefix}{name}").split(), f"{name} left a process behind"
