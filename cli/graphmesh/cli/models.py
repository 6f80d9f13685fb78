"""Commands for models: `models` shows them, `model load` and `model unload` change what their workers host."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from graphmesh.cli.control import as_document, ask, ask_for_all
from graphmesh.cli.gateway import gateway_option
from graphmesh.cli.http import get, post, refusal
from graphmesh.cli.output import emit, output_option, said_if_slow, signature_rows
from graphmesh.core.errors import Unavailable
from graphmesh.core.names import check_model_name
from graphmesh.core.wire import signature_from_wire
from graphmesh.v1 import mesh_service_pb2, model_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["HELD_COLUMNS", "held_row", "model", "models", "ready"]

HELD_COLUMNS = ("Held version", "For graph", "Uses", "Because")

_UNKNOWN = 2
_SETTLE_S, _POLL_S = 1.0, 0.2
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
    columns = ("Model", "Kind", "Ready", "Versions", "Memory", "Trouble")
    emit(output, document, columns=columns, rows=rows, least=("Memory", "Kind", "Versions"))


def ready(model: mesh_service_pb2.Model) -> str:
    """Return how many of a model's replicas take requests, of how many."""
    count = sum(replica.model.state == model_pb2.MODEL_STATE_AVAILABLE for replica in model.replicas)
    return f"{count}/{len(model.replicas)}"


def _versions(model: mesh_service_pb2.Model) -> str:
    versions = {r.model.version for r in model.replicas if r.model.state == model_pb2.MODEL_STATE_AVAILABLE}
    return "" if model.graph else ", ".join(sorted(versions, key=int))


def _memory(model: mesh_service_pb2.Model) -> str:
    return _size(sum(replica.model.memory_bytes for replica in model.replicas))


def _size(count: int) -> str:
    if count < 1 << 20:
        return f"{max(1, round(count / (1 << 10)))} KiB" if count else ""
    return f"{round(count / (1 << 20))} MiB"


def held_row(held: mesh_service_pb2.HeldVersion) -> tuple[str, ...]:
    """Return a table row of a version that a graph does not use; its columns are `HELD_COLUMNS`."""
    return f"{held.model}@{held.version}", held.graph, f"version {held.used_version}", held.reason


def _trouble(model: mesh_service_pb2.Model) -> str:
    if model.problem:
        return model.problem
    if not model.replicas:
        return "no replica"
    held = [] if model.graph else [f"version {h.version} is held for graph {h.graph}: {h.reason}" for h in model.held]
    return "; ".join([f"{r.worker_id}: {_message(r.model)}" for r in model.replicas if _message(r.model)] + held)


def _message(hosted: model_pb2.HostedModel) -> str:
    return hosted.message or ("unloaded" if hosted.state == model_pb2.MODEL_STATE_UNLOADED else "")


def _state(hosted: model_pb2.HostedModel) -> str:
    return model_pb2.ModelState.Name(hosted.state).removeprefix("MODEL_STATE_").lower()


def _show_model(name: str, gateway: str, output: str) -> None:
    model = _get(name, gateway)
    rows: list[tuple[object, ...]] = []
    if model.HasField("signature"):
        rows += signature_rows(signature_from_wire(model.signature))
        if model.signature.streaming:
            rows.append(("answers", "", "a stream of them"))
    rows += [("replica", replica.worker_id, _described(replica.model)) for replica in model.replicas]
    rows += [("held", f"{h.model}@{h.version}", f"for graph {h.graph}: {h.reason}") for h in model.held]
    if model.problem:
        rows.append(("problem", model.name, model.problem))
    emit(output, as_document(model), columns=("What", "Name", "Is"), rows=rows)


def _described(hosted: model_pb2.HostedModel) -> str:
    parts = [f"version {hosted.version or 'live'}", _state(hosted), _size(hosted.memory_bytes)]
    described = ", ".join(part for part in parts if part)
    return f"{described}: {hosted.message}" if hosted.message else described


def _get(name: str, gateway: str) -> mesh_service_pb2.Model:
    request = mesh_service_pb2.GetModelRequest(name=name)
    model: mesh_service_pb2.Model = ask(gateway, lambda client: client.mesh.GetModel, request)
    return model


@click.group()
def model() -> None:
    """Load and unload models while their workers run."""


@model.command(short_help="Load a model, or load it again from its source.")
@click.argument("name")
@gateway_option
@output_option
def load(name: str, gateway: str, output: str) -> None:
    """Load NAME, or load it again: its source is read anew on every worker that was given it.

    Calls go on meanwhile. A worker that cannot load it keeps what it has and says why. Graphs that what was loaded
    breaks, because it takes or gives something else, are named.
    """
    _change(name, "load", gateway, output)


@model.command(short_help="Unload a model on every worker.")
@click.argument("name")
@gateway_option
@output_option
def unload(name: str, gateway: str, output: str) -> None:
    """Unload NAME on every worker: calls in flight finish, new ones are refused until it is loaded again."""
    _change(name, "unload", gateway, output)


def _change(name: str, what: str, gateway: str, output: str) -> None:
    path = f"/v2/repository/models/{quote(check_model_name(name))}/{what}"
    before, types = _unready(gateway), _types(gateway, name)
    with said_if_slow(f"{what}ing {name} ..."):
        answer = post(f"http://{gateway}{path}", b"{}", timeout_s=600)
    if answer.status == 0:
        raise Unavailable(f"no mesh answers at {gateway} ({answer.body.decode()}); start one with: graphmesh up")
    if answer.status != HTTPStatus.OK:
        raise refusal(*_error(answer.body, gateway))
    changed = _get(name, gateway)
    rows = [
        (r.worker_id, r.model.version, _state(r.model), _size(r.model.memory_bytes), r.model.message)
        for r in changed.replicas
    ]
    emit(output, as_document(changed), columns=_REPLICAS, rows=rows, least=("Memory",))
    if types != _types(gateway, name):  # nothing breaks otherwise
        for graph, problem in _broken_since(before, lambda: _unready(gateway)).items():
            click.echo(f"graph {graph} is no longer ready: {problem}", err=True)


def _listed(gateway: str) -> list[Any]:
    """Return the mesh's models and graphs as its JSON has them; none if it does not say."""
    answer = get(f"http://{gateway}/v1/models?page_size=1000")
    try:
        return list(json.loads(answer.body)["models"]) if answer.status == HTTPStatus.OK else []
    except (ValueError, KeyError, TypeError):
        return []


def _types(gateway: str, name: str) -> list[tuple[str, ...]]:
    """Return what types each replica of a model has, and in what state; nothing in a mesh without graphs."""
    models = _listed(gateway)
    try:
        if not any(model.get("graph") for model in models):
            return []
        replicas = [replica for model in models if model["name"] == name for replica in model.get("replicas", ())]
        fields = ("state", "version", "signature_digest")
        return sorted(tuple(str(replica["model"].get(field, "")) for field in fields) for replica in replicas)
    except (KeyError, AttributeError, TypeError):
        return []


def _unready(gateway: str) -> dict[str, str]:
    """Return why graphs are not ready, by name; none if the mesh does not say."""
    try:
        graphs = [model for model in _listed(gateway) if model.get("graph")]
        return {graph["name"]: graph["problem"] for graph in graphs if graph.get("problem")}
    except (KeyError, AttributeError, TypeError):
        return {}


def _broken_since(before: Mapping[str, str], unready: Callable[[], Mapping[str, str]]) -> dict[str, str]:
    """Return the graphs that were ready before and are not now; waits a moment, as gateways judge graphs anew."""
    end = time.monotonic() + _SETTLE_S
    while True:
        broken = {graph: problem for graph, problem in unready().items() if graph not in before}
        if broken or time.monotonic() >= end:
            return broken
        time.sleep(_POLL_S)


def _error(body: bytes, gateway: str) -> tuple[int, str]:
    try:
        document: Any = json.loads(body)
        return int(document.get("code", _UNKNOWN)), str(document["error"])
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Unavailable(f"{gateway} answered without the expected JSON; is it a graphmesh gateway?") from None
