"""docker-compose.yml, resolved by Compose: who runs, who waits for whom, and what is open to whom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from graphmesh.cli.main import cli
from graphmesh.cli.mesh_file import load_mesh_file
from graphmesh.cli.ocr import MESH
from graphmesh.worker.config import WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    Services = dict[str, dict[str, Any]]

ROOT = Path(__file__).resolve().parents[2]
LASTING = ("etcd", "gateway", "detection", "recognition")
OURS = ("gateway", "detection", "recognition", "graphs")


def seconds(duration: str) -> float:
    """Return a Compose duration such as ``1m30s`` in seconds."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


def parsed(command: list[str]) -> click.Context:
    """Return what click makes of a `graphmesh` command, without running it."""
    assert command[0] == "graphmesh"
    root = click.Context(cli)
    name, found, rest = cli.resolve_command(root, command[1:])
    assert found is not None
    return found.make_context(name, rest, parent=root)


def test_the_mesh_is_one_etcd_one_gateway_two_workers(services: Services) -> None:
    """Four lasting services and one that applies the graphs, nothing else."""
    kinds = {name: service["command"][1] for name, service in services.items() if name in OURS[:3]}
    assert kinds == {"gateway": "gateway", "detection": "worker", "recognition": "worker"}
    assert set(services) == {*LASTING, "graphs"}


def test_etcd_is_recent_enough(services: Services) -> None:
    """The etcd image is 3.5.15 or later, past the versions that corrupt or lose data."""
    version = re.fullmatch(r"\S+/etcd:v(\d+)\.(\d+)\.(\d+)", services["etcd"]["image"])
    assert version is not None
    assert tuple(map(int, version.groups())) >= (3, 5, 15)


def test_etcd_keeps_its_data_in_a_volume(services: Services) -> None:
    """The folder that etcd is told to write to is a named volume."""
    (volume,) = services["etcd"]["volumes"]
    target = volume["target"] if isinstance(volume, dict) else volume.split(":")[1]
    assert f"--data-dir={target}" in services["etcd"]["command"]


@pytest.mark.parametrize("name", LASTING)
def test_lasting_services_are_checked_and_restarted(services: Services, name: str) -> None:
    """What should run for ever has a health check and comes back after a crash."""
    service = services[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert seconds(service["healthcheck"]["interval"]) <= 10
    assert service["healthcheck"]["retries"] >= 2


def test_each_waits_until_what_it_needs_is_healthy(services: Services) -> None:
    """The gateway waits for etcd, workers for the gateway, the graphs for all; stopping goes the other way round."""
    waits = {name: services[name].get("depends_on", {}) for name in services}
    conditions = {entry["condition"] for needs in waits.values() for entry in needs.values()}
    assert conditions == {"service_healthy"}
    assert {name: set(needs) for name, needs in waits.items()} == {
        "etcd": set(),
        "gateway": {"etcd"},
        "detection": {"gateway"},
        "recognition": {"gateway"},
        "graphs": {"gateway", "detection", "recognition"},
    }


def test_the_graphs_service_runs_until_it_succeeds(services: Services) -> None:
    """The service that applies the graphs is started again only if the mesh was not there yet."""
    assert services["graphs"]["restart"] == "on-failure"


def test_only_the_gateway_is_published_and_only_on_this_machine(services: Services) -> None:
    """Ports 8000 to 8002 of the gateway are open on 127.0.0.1; etcd and the workers publish nothing."""
    assert [name for name in services if services[name].get("ports")] == ["gateway"]
    published = []
    for port in services["gateway"]["ports"]:
        if isinstance(port, str):
            host, outside, inside = port.removesuffix("/tcp").split(":")
        else:
            host, outside, inside = port["host_ip"], str(port["published"]), str(port["target"])
        published.append((host, outside, inside))
    assert published == [("127.0.0.1", port, port) for port in ("8000", "8001", "8002")]


def test_all_share_the_named_network(services: Services, resolve: Callable[..., dict[str, Any]]) -> None:
    """Every service is on the network `mesh`, and on no other."""
    assert set(resolve("docker-compose.yml")["networks"]) == {"mesh"}
    assert all(set(service["networks"]) == {"mesh"} for service in services.values())


def test_containers_have_no_more_rights_than_they_need(services: Services) -> None:
    """No capabilities, no new privileges, a root file system that cannot be written."""
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True


def test_workers_have_time_to_drain(services: Services) -> None:
    """Compose waits longer before SIGKILL than a worker may take to drain, and signals reach it through an init."""
    defaults = WorkerConfig(worker_id="any")
    for name in OURS:
        assert seconds(services[name]["stop_grace_period"]) > defaults.drain_s + defaults.grace_s
        assert services[name]["init"] is True


@pytest.mark.parametrize("name", OURS[:3])
def test_commands_are_ones_that_graphmesh_has(services: Services, name: str) -> None:
    """Every option exists and fits; addresses beyond loopback are allowed explicitly, none is advertised by hand."""
    options = parsed(services[name]["command"]).params
    assert options["etcd"] == ("etcd:2379",)
    assert options["bind"] == "0.0.0.0"  # noqa: S104 - read, not bound
    assert options["insecure_bind"] is True
    assert options["advertise"] == ""


@pytest.mark.parametrize(("name", "option", "default"), [("gateway", "port", 8000), ("detection", "http_port", 9000)])
def test_health_checks_ask_the_port_that_is_served(services: Services, name: str, option: str, default: int) -> None:
    """The health check asks the port that the command listens on."""
    assert parsed(services[name]["command"]).params[option] == default
    assert f"'127.0.0.1', {default}" in services[name]["healthcheck"]["test"][-1]


def test_workers_host_every_group_of_the_demo(services: Services) -> None:
    """The two workers are the two groups of the OCR demo's mesh file, and its graphs are applied in its order."""
    groups = [parsed(services[name]["command"]).params["group"] for name in ("detection", "recognition")]
    mesh = load_mesh_file(MESH)
    assert groups == [worker.name for worker in mesh.workers]
    applied = re.findall(r"graph apply /mesh/(\S+)", services["graphs"]["command"][-1])
    assert applied == [Path(graph).name for graph in mesh.graphs]


def test_the_tutorial_can_take_the_demos_place(resolve: Callable[..., dict[str, Any]]) -> None:
    """deploy/tutorial.yml mounts the tutorial's files and serves their one group on both workers."""
    services = resolve("docker-compose.yml", "deploy/tutorial.yml")["services"]
    mesh = load_mesh_file(ROOT / "examples/tutorial/mesh.yaml")
    for name in ("detection", "recognition"):
        assert parsed(services[name]["command"]).params["group"] == mesh.workers[0].name
    for name in ("detection", "recognition", "graphs"):
        (volume,) = services[name]["volumes"]
        source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        assert Path(source).samefile(ROOT / "examples/tutorial")
    assert [services["graphs"]["command"][-1]] == [f"/mesh/{Path(graph).name}" for graph in mesh.graphs]
