"""Commands for models: `models` shows them, `model load` and `model unload` change what their workers host."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import click

from graphmesh.cli.control import as_document, ask, ask_for_all, gateway_option
from graphmesh.cli.http import post, refusal
from graphmesh.cli.output import emit, output_option, signature_rows
from graphmesh.core.errors import Unavailable
from graphmesh.core.names import check_model_name
from graphmesh.core.wire import signature_from_wire
from graphmesh.v1 import mesh_service_pb2, model_pb2

__all__ = ["commands", "ready"]

_UNKNOWN = 2
_REPLICAS = ("Worker", "Version", "State", "Memory", "Message")


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
    rows = [
        (m.name, "graph" if m.graph else m.spec.backend, ready(m), _versions(m), _memory(m), _trouble(m)) for m in found
    ]
    document = {"models": [as_document(model) for model in found]}
    emit(output, document, columns=("Model", "Kind", "Ready", "Versions", "Memory", "Trouble"), rows=rows)


def ready(model: mesh_service_pb2.Model) -> str:
    """Return how many of a model's replicas take requests, of how many."""
    count = sum(replica.model.state == model_pb2.MODEL_STATE_AVAILABLE for replica in model.replicas)
    return f"{count}/{len(model.replicas)}"


def _versions(model: mesh_service_pb2.Model) -> str:
    versions = {r.model.version for r in model.replicas if r.model.state == model_pb2.MODEL_STATE_AVAILABLE}
    return "" if model.graph else ", ".join(sorted(versions, key=int))


def _memory(model: mesh_service_pb2.Model) -> str:
    return _mebibytes(sum(replica.model.memory_bytes for replica in model.replicas))


def _mebibytes(count: int) -> str:
    return f"{max(1, round(count / (1 << 20)))} MiB" if count else ""


def _trouble(model: mesh_service_pb2.Model) -> str:
    if not model.replicas:
        return "no replica"
    return "; ".join(f"{r.worker_id}: {_message(r.model)}" for r in model.replicas if _message(r.model))


def _message(hosted: model_pb2.HostedModel) -> str:
    return hosted.message or ("unloaded" if hosted.state == model_pb2.MODEL_STATE_UNLOADED else "")


def _state(hosted: model_pb2.HostedModel) -> str:
    return model_pb2.ModelState.Name(hosted.state).removeprefix("MODEL_STATE_").lower()


def _show_model(name: str, gateway: str, output: str) -> None:
    model = _get(name, gateway)
    rows: list[tuple[object, ...]] = []
    if model.HasField("signature"):
        rows += signature_rows(signature_from_wire(model.signature))
    rows += [("replica", replica.worker_id, _described(replica.model)) for replica in model.replicas]
    emit(output, as_document(model), columns=("What", "Name", "Is"), rows=rows)


def _described(hosted: model_pb2.HostedModel) -> str:
    parts = [f"version {hosted.version or 'live'}", _state(hosted), _mebibytes(hosted.memory_bytes)]
    described = ", ".join(part for part in parts if part)
    return f"{described}: {hosted.message}" if hosted.message else described


def _get(name: str, gateway: str) -> mesh_service_pb2.Model:
    request = mesh_service_pb2.GetModelRequest(name=name)
    model: mesh_service_pb2.Model = ask(gateway, lambda client: client.mesh.GetModel, request)
    return model


@click.group()
def model() -> None:
    """Load and unload models while their workers run."""


@model.command()
@click.argument("name")
@gateway_option
@output_option
def load(name: str, gateway: str, output: str) -> None:
    """Load NAME, or load it again: its source is read anew on every worker that was given it.

    Calls go on meanwhile. A worker that cannot load it keeps what it has and says why.
    """
    _change(name, "load", gateway, output)


@model.command()
@click.argument("name")
@gateway_option
@output_option
def unload(name: str, gateway: str, output: str) -> None:
    """Unload NAME on every worker: calls in flight finish, new ones are refused until it is loaded again."""
    _change(name, "unload", gateway, output)


def _change(name: str, what: str, gateway: str, output: str) -> None:
    path = f"/v2/repository/models/{quote(check_model_name(name))}/{what}"
    answer = post(f"http://{gateway}{path}", b"{}", timeout_s=600)
    if answer.status == 0:
        raise Unavailable(f"no mesh answers at {gateway} ({answer.body.decode()}); start one with: graphmesh up")
    if answer.status != HTTPStatus.OK:
        raise refusal(*_error(answer.body, gateway))
    changed = _get(name, gateway)
    rows = [
        (r.worker_id, r.model.version, _state(r.model), _mebibytes(r.model.memory_bytes), r.model.message)
        for r in changed.replicas
    ]
    emit(output, as_document(changed), columns=_REPLICAS, rows=rows)


def _error(body: bytes, gateway: str) -> tuple[int, str]:
    try:
        document: Any = json.loads(body)
        return int(document.get("code", _UNKNOWN)), str(document["error"])
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Unavailable(f"{gateway} answered without the expected JSON; is it a graphmesh gateway?") from None


commands = (models, model)
