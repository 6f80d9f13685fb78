"""Commands that look at a running mesh: `status`, `models`, `workers`, `scale`."""

from __future__ import annotations

import click

from graphmesh.cli.control import as_document, ask, ask_for_all, gateway_option
from graphmesh.cli.output import emit, output_option, signature_rows
from graphmesh.core.wire import signature_from_wire
from graphmesh.v1 import mesh_service_pb2, model_pb2, registry_pb2

__all__ = ["commands"]


def _state(hosted: model_pb2.HostedModel) -> str:
    name = model_pb2.ModelState.Name(hosted.state).removeprefix("MODEL_STATE_").lower()
    return f"{name}: {hosted.message}" if hosted.message else name


@click.command()
@gateway_option
@output_option
def status(gateway: str, output: str) -> None:
    """Show the health of the mesh."""
    answer: mesh_service_pb2.MeshStatus = ask(
        gateway, lambda client: client.mesh.GetStatus, mesh_service_pb2.GetStatusRequest()
    )
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
    emit(output, as_document(answer), columns=("What", "Value"), rows=rows)


@click.command()
@click.argument("name", required=False)
@gateway_option
@output_option
def models(name: str | None, gateway: str, output: str) -> None:
    """List models and graphs with their replicas, or show one with its signature."""
    if name is not None:
        _show_model(name, gateway, output)
        return
    request = mesh_service_pb2.ListModelsRequest()
    found: list[mesh_service_pb2.Model] = ask_for_all(gateway, lambda client: client.mesh.ListModels, request, "models")
    rows = [(m.name, "graph" if m.graph else m.spec.backend, _ready(m), _trouble(m)) for m in found]
    document = {"models": [as_document(model) for model in found]}
    emit(output, document, columns=("Model", "Kind", "Ready", "Trouble"), rows=rows)


def _ready(model: mesh_service_pb2.Model) -> str:
    ready = sum(replica.model.state == model_pb2.MODEL_STATE_AVAILABLE for replica in model.replicas)
    return f"{ready}/{len(model.replicas)}"


def _trouble(model: mesh_service_pb2.Model) -> str:
    if not model.replicas:
        return "no replica"
    failed = [r for r in model.replicas if r.model.state == model_pb2.MODEL_STATE_FAILED]
    return "; ".join(f"{replica.worker_id}: {replica.model.message}" for replica in failed)


def _show_model(name: str, gateway: str, output: str) -> None:
    request = mesh_service_pb2.GetModelRequest(name=name)
    model: mesh_service_pb2.Model = ask(gateway, lambda client: client.mesh.GetModel, request)
    rows: list[tuple[object, ...]] = []
    if model.HasField("signature"):
        rows += signature_rows(signature_from_wire(model.signature))
    rows += [
        ("replica", replica.worker_id, f"version {replica.model.version or 'live'}, {_state(replica.model)}")
        for replica in model.replicas
    ]
    emit(output, as_document(model), columns=("What", "Name", "Is"), rows=rows)


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
    emit(output, as_document(answer), columns=("Worker", "State", "HTTP", "gRPC", "Models"), rows=rows)


@click.command()
@click.argument("model")
@click.argument("replicas", type=click.IntRange(min=1))
@gateway_option
@output_option
def scale(model: str, replicas: int, gateway: str, output: str) -> None:
    """Set how many replicas of MODEL `graphmesh up` keeps."""
    request = mesh_service_pb2.ScaleModelRequest(name=model, replicas=replicas)
    answer: mesh_service_pb2.Model = ask(gateway, lambda client: client.mesh.ScaleModel, request)
    rows = [(answer.name, answer.spec.replicas, _ready(answer))]
    emit(output, as_document(answer), columns=("Model", "Wanted", "Ready"), rows=rows)


commands = (status, models, workers, scale)
