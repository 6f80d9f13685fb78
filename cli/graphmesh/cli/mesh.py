"""Commands that look at a running mesh: `status`, `workers`, `scale`."""

from __future__ import annotations

import click

from graphmesh.cli.control import as_document, ask, ask_for_all
from graphmesh.cli.gateway import gateway_option
from graphmesh.cli.models import HELD_COLUMNS, held_row, ready
from graphmesh.cli.output import emit, is_table, output_option
from graphmesh.v1 import mesh_service_pb2, registry_pb2

__all__ = ["scale", "status", "workers"]


@click.command()
@gateway_option
@output_option
def status(gateway: str, output: str) -> None:
    """Show the health of the mesh, where its graphs run, and versions of models that graphs do not use."""
    answer: mesh_service_pb2.MeshStatus = ask(
        gateway, lambda client: client.mesh.GetStatus, mesh_service_pb2.GetStatusRequest()
    )
    models = ask_for_all(
        gateway, lambda client: client.mesh.ListModels, mesh_service_pb2.ListModelsRequest(page_size=1000), "models"
    )
    graphs = [model for model in models if model.graph]
    etcd = "connected" if answer.etcd_connected else "away: inference goes on, changes are refused"
    rows = [
        ("mesh", answer.mesh),
        ("etcd", etcd),
        ("snapshot age", f"{answer.snapshot_age_seconds:.1f} s"),
        ("gateways", ", ".join(f"{g.gateway_id} {g.host}:{g.port}" for g in answer.gateways)),
        ("ready workers", answer.ready_workers),
        ("available models and graphs", answer.available_models),
        ("held workers", ", ".join(answer.held_workers) or "none"),
        ("envoy pid", answer.envoy_pid),
    ]
    document = {**as_document(answer), "graphs": [_graph_document(graph) for graph in graphs]}
    emit(output, document, columns=("What", "Value"), rows=rows)
    if is_table(output) and graphs:
        click.echo()
        shown = [(graph.name, graph.revision, _runs_on(graph), graph.problem or "yes") for graph in graphs]
        emit(output, None, columns=("Graph", "Revision", "Runs on", "Ready"), rows=shown, least=("Revision",))
    if is_table(output) and answer.held_versions:
        click.echo()
        held = [held_row(version) for version in answer.held_versions]
        emit(output, None, columns=HELD_COLUMNS, rows=held, least=HELD_COLUMNS[2:3])


def _runs_on(graph: mesh_service_pb2.Model) -> str:
    return ", ".join(replica.worker_id for replica in graph.replicas) or "no worker"


def _graph_document(graph: mesh_service_pb2.Model) -> dict[str, object]:
    return {
        "name": graph.name,
        "revision": graph.revision,
        "workers": [replica.worker_id for replica in graph.replicas],
        "ready": not graph.problem and bool(graph.replicas),
        "problem": graph.problem,
    }


@click.command()
@gateway_option
@output_option
def workers(gateway: str, output: str) -> None:
    """List workers and what they host."""
    request = mesh_service_pb2.ListWorkersRequest()
    answer: mesh_service_pb2.ListWorkersResponse = ask(gateway, lambda client: client.mesh.ListWorkers, request)
    rows = [
        (
            worker.worker_id,
            registry_pb2.WorkerState.Name(worker.state).removeprefix("WORKER_STATE_").lower(),
            f"{worker.host}:{worker.http_port}",
            f"{worker.host}:{worker.grpc_port}",
            ", ".join(f"{m.name}@{m.version}" for m in worker.models),
        )
        for worker in answer.workers
    ]
    columns = ("Worker", "State", "HTTP", "gRPC", "Models")
    emit(output, as_document(answer), columns=columns, rows=rows, least=("gRPC", "HTTP"))


@click.command()
@click.argument("model")
@click.argument("replicas", type=click.IntRange(min=1))
@gateway_option
@output_option
def scale(model: str, replicas: int, gateway: str, output: str) -> None:
    """Set how many replicas of MODEL `graphmesh up` keeps."""
    request = mesh_service_pb2.ScaleModelRequest(name=model, replicas=replicas)
    answer: mesh_service_pb2.Model = ask(gateway, lambda client: client.mesh.ScaleModel, request)
    rows = [(answer.name, answer.spec.replicas, ready(answer))]
    emit(output, as_document(answer), columns=("Model", "Wanted", "Ready"), rows=rows)
