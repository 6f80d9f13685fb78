"""Commands that run a process of the mesh: `up`, `down`, `gateway`, `worker`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import uvloop

from graphmesh.cli import local
from graphmesh.cli.graph_load import load_graphs
from graphmesh.cli.mesh_file import MeshFile, ModelEntry, WorkerEntry, load_mesh_file, resolve_source
from graphmesh.cli.ports import check_ports
from graphmesh.cli.up import Up, UpOptions
from graphmesh.core.errors import InvalidRequest
from graphmesh.core.logs import log_handler
from graphmesh.core.names import check_model_name, new_id

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["down", "gateway", "up", "worker"]

_etcd: Callable[[Any], Any] = click.option(
    "--etcd", multiple=True, metavar="HOST:PORT", help="An endpoint of etcd; repeat for several."
)
_mesh: Callable[[Any], Any] = click.option("--mesh", default="default", show_default=True, help="The mesh's name.")
_insecure: Callable[[Any], Any] = click.option(
    "--insecure-bind",
    is_flag=True,
    help="Allow an address other than loopback although traffic is neither encrypted nor authenticated.",
)
_bind: Callable[[Any], Any] = click.option(
    "--bind", default="127.0.0.1", show_default=True, help="Address to listen on."
)
_advertise: Callable[[Any], Any] = click.option(
    "--advertise", default="", help="IP address others reach this process at; default: the one etcd is reached from."
)
_max_message: Callable[[Any], Any] = click.option(
    "--max-message-mib", type=click.IntRange(1, 1024), default=64, show_default=True, help="Largest message, MiB."
)
_LOCAL_ETCD = ("127.0.0.1:2379",)


def _log_to_stderr() -> None:
    level = os.environ.get("GRAPHMESH_LOG_LEVEL", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise InvalidRequest(f"GRAPHMESH_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, got {level[:40]!r}")
    logging.basicConfig(level=level, handlers=[log_handler(os.environ.get("GRAPHMESH_LOG_FORMAT", ""))])


@click.command()
@click.argument("mesh_file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@_etcd
@click.option("--bind", help="Address the gateway listens on; default: mesh.yaml's.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The gateway's port; default: mesh.yaml's, 8000. 0 picks a free one."
)
@click.option(
    "--grpc-port", type=click.IntRange(0, 65535), help="Second port for gRPC; default: mesh.yaml's, 8001. 0: none."
)
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Port of the metrics; default: mesh.yaml's, 8002. 0: none."
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for state, logs and etcd's data; default: .graphmesh beside mesh.yaml.",
)
@click.option(
    "--ready-timeout",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Seconds that models may take to load.",
)
@click.option(
    "--detach",
    is_flag=True,
    help="Return once the mesh is ready and leave it running, its log in up.log of the run folder; stop it with "
    "`graphmesh down`.",
)
@_insecure
def up(mesh_file: Path | None, run_dir: Path | None, *, detach: bool, **flags: Any) -> None:
    """Start a whole mesh on this machine: etcd, a gateway, and the workers and graphs of MESH_FILE.

    MESH_FILE is ./mesh.yaml if there is one. It runs until Ctrl-C or SIGTERM, ends what it started, and exits with 0.
    """
    if mesh_file is None and Path("mesh.yaml").is_file():
        mesh_file = Path("mesh.yaml")
    mesh = load_mesh_file(mesh_file) if mesh_file is not None else MeshFile()
    folder = run_dir or local.default_run_dir(mesh_file or Path("mesh.yaml"))  # never that of a folder around
    wanted = local.with_gateway_flags(mesh, bind=flags["bind"], ports=flags)
    local.check_none_runs(folder.resolve())
    local.stop_leftovers(folder.resolve(), say=click.echo)
    if detach:
        check_ports(wanted.gateway)
        load_graphs(wanted.graphs)  # a file that is no graph is refused here, not in a log
        arguments = [argument for argument in sys.argv[2:] if argument != "--detach"]
        local.start_detached(arguments, folder, say=click.echo)
        return
    options = UpOptions(
        mesh=wanted,
        mesh_path=None if mesh_file is None else mesh_file.resolve(),
        run_dir=folder.resolve(),
        etcd=flags["etcd"],
        insecure_bind=flags["insecure_bind"],
        ready_timeout_s=flags["ready_timeout"],
    )
    logging.basicConfig(stream=sys.stderr, level="WARNING", format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(Up(options, say=click.echo).run())


@click.command()
@click.argument("mesh_file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--run-dir", type=click.Path(path_type=Path, file_okay=False), help="As given to `graphmesh up`.")
def down(mesh_file: Path | None, run_dir: Path | None) -> None:
    """Stop the mesh that `graphmesh up` started, also what a killed one left behind."""
    local.stop((run_dir or local.default_run_dir(mesh_file)).resolve(), say=click.echo)


@click.command()
@click.option("--gateway-id", default="", help="Unique among live gateways; default: random.")
@_mesh
@_etcd
@_bind
@_advertise
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="gRPC and REST.")
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    default=8001,
    show_default=True,
    help="The same again, for gRPC; 0: none.",
)
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), default=8002, show_default=True, help="Metrics; 0: none."
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".graphmesh/gateway"),
    show_default=True,
    help="Folder for Envoy's state and logs.",
)
@_max_message
@_insecure
def gateway(gateway_id: str, run_dir: Path, max_message_mib: int, **flags: Any) -> None:
    """Run a gateway: Envoy, and the control plane that steers it."""
    from graphmesh.gateway.config import GatewayConfig  # noqa: PLC0415 - each process loads only its own component
    from graphmesh.gateway.process import run_gateway  # noqa: PLC0415

    _log_to_stderr()
    config = GatewayConfig(
        gateway_id=check_model_name(gateway_id or new_id("gateway")),
        run_dir=run_dir.resolve(),
        max_message_bytes=max_message_mib << 20,
        envoy_heap_bytes=max(2048, 8 * max_message_mib) << 20,
        **{**flags, "etcd": flags["etcd"] or _LOCAL_ETCD},
    )
    sys.exit(asyncio.run(run_gateway(config)))


@click.command()
@click.option("--worker-id", default="", help="Unique among live workers; default: random.")
@_mesh
@_etcd
@_bind
@_advertise
@click.option(
    "--http-port", type=click.IntRange(0, 65535), default=0, help="Unary calls, JSON, metrics; default: a free one."
)
@click.option(
    "--grpc-port", type=click.IntRange(0, 65535), default=0, help="Streams and direct gRPC; default: a free one."
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=SOURCE",
    help="A model to host: a file or folder, file.py:Class or module:Class; repeat for several.",
)
@click.option("--mesh-file", type=click.Path(path_type=Path, dir_okay=False), help="Take the models from a mesh.yaml.")
@click.option("--group", help="With --mesh-file: the worker group to be one of.")
@click.option("--only", help="With --mesh-file: host this one model, in all its versions.")
@click.option(
    "--ttl",
    "ttl_s",
    type=click.FloatRange(min=1),
    default=15.0,
    show_default=True,
    help="Seconds until the record of a worker that died vanishes.",
)
@click.option(
    "--cache-mib",
    type=click.IntRange(min=0),
    help="MiB that all cache steps of graphs may remember here together; default: mesh.yaml's, 1024.",
)
@_max_message
@_insecure
def worker(
    worker_id: str,
    models: tuple[str, ...],
    mesh_file: Path | None,
    group: str | None,
    only: str | None,
    cache_mib: int | None,
    max_message_mib: int,
    **flags: Any,
) -> None:
    """Run a worker: hosts models and registers them."""
    from graphmesh.worker.config import WorkerConfig  # noqa: PLC0415 - each process loads only its own component
    from graphmesh.worker.process import run_worker  # noqa: PLC0415 - as above

    _log_to_stderr()
    entry = _entry(mesh_file, group, only) if mesh_file is not None else WorkerEntry(name="worker", models=[])
    hosted = tuple(model.config() for model in [*entry.models, *map(_model_flag, models)])
    config = WorkerConfig(
        worker_id=check_model_name(worker_id or new_id("worker")),
        models=hosted,
        labels=entry.labels,
        cache_bytes=(entry.cache_mib if cache_mib is None else cache_mib) << 20,
        max_message_bytes=(max_message_mib + 1) << 20,  # the gateway bounds tensors, this their envelope too
        **{**flags, "etcd": flags["etcd"] or _LOCAL_ETCD},
    )
    # Measured on the fast path: three quarters of the CPU time of asyncio's own loop.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(run_worker(config)))


def _entry(mesh_file: Path, group: str | None, only: str | None) -> WorkerEntry:
    mesh = load_mesh_file(mesh_file)
    if only is not None:
        found = mesh.models().get(only)
        if found is None:
            raise InvalidRequest(f"--only {only}: {mesh_file} has no such model, only {', '.join(mesh.models())}")
        return WorkerEntry(name=only, models=found)
    for entry in mesh.workers:
        if entry.name == group:
            return entry
    raise InvalidRequest(f"--group {group}: {mesh_file} has only {', '.join(w.name for w in mesh.workers) or 'none'}")


def _model_flag(flag: str) -> ModelEntry:
    name, separator, source = flag.partition("=")
    if not separator:
        raise InvalidRequest(f"--model must be NAME=SOURCE, got {flag!r}")
    return ModelEntry(name=check_model_name(name), source=resolve_source(source, Path.cwd()))
