"""`graphmesh model load` and `unload` against a gateway that answers what it is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.cli.models import _broken_since, _change, _described, _error, _trouble, _unready, held_row, ready
from graphmesh.core.errors import Unavailable
from graphmesh.v1 import mesh_service_pb2, model_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import FakeGateway

    Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("what", ["load", "unload"])
def test_a_refusal(graphmesh: Run, fake_gateway: FakeGateway, what: str) -> None:
    """The gateway is asked by the protocol's path; what it refuses is one line and exit code 1."""
    fake_gateway.answers({"error": "model 'm': version 1: m.py: no", "code": 9}, status=400)
    code, _, errors = graphmesh("model", what, "m", "--gateway", fake_gateway.address)
    assert (code, errors) == (1, "graphmesh: model 'm': version 1: m.py: no\n")
    path, _, body = fake_gateway.requests[-1]
    assert (path, body) == (f"/v2/repository/models/m/{what}", b"{}")


def test_graphs_that_a_load_breaks(fake_gateway: FakeGateway) -> None:
    """Named are those that were ready before, as soon as the mesh says so."""
    models = [{"name": "m", "problem": "none of its own"}, {"name": "old", "graph": True, "problem": "broken long ago"}]
    fake_gateway.answers({"models": models})
    before = _unready(fake_gateway.address)
    assert before == {"old": "broken long ago"}
    said = iter([before, before, {**before, "g": "edge a.y -> b.x"}])
    assert _broken_since(before, lambda: next(said)) == {"g": "edge a.y -> b.x"}


def test_a_load_that_breaks_nothing(fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited a moment for, and no longer; a mesh that does not say which graphs are not ready breaks none."""
    monkeypatch.setattr("graphmesh.cli.models._SETTLE_S", 0.0)
    assert _broken_since({}, dict) == {}
    for status, body in ((404, b"no"), (200, b"<html>"), (200, b"[]"), (200, b'{"models": [1]}')):
        fake_gateway.status, fake_gateway.body = status, body
        assert _unready(fake_gateway.address) == {}


def test_nobody_answers(graphmesh: Run) -> None:
    """A mesh that is not there is exit code 3."""
    code, _, errors = graphmesh("model", "load", "m", "--gateway", "127.0.0.1:1")
    assert code == 3
    assert "start one with: graphmesh up" in errors


def test_answers_that_are_not_the_meshs() -> None:
    """An error without a code is UNKNOWN; what is no error of the mesh is said to be none."""
    assert _error(json.dumps({"error": "x"}).encode(), "g") == (2, "x")
    for body in (b"<html>", b"[]", b"{}", b'{"error": "x", "code": "y"}'):
        with pytest.raises(Unavailable, match="is it a graphmesh gateway"):
            _error(body, "g")


def test_a_load_of_the_same_types_is_not_waited_after(
    fake_gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Graphs are looked at again only if there are any and the model's types changed."""
    hosted = {"model": {"version": "1", "state": "MODEL_STATE_AVAILABLE", "signature_digest": "a"}}
    models: list[dict[str, Any]] = [{"name": "m", "replicas": [hosted]}, {"name": "g", "graph": True}]
    listed = iter([models, models, models, [{**models[0], "replicas": []}, models[1]], models[:1], []])
    monkeypatch.setattr("graphmesh.cli.models._listed", lambda _: next(listed))
    monkeypatch.setattr("graphmesh.cli.models._unready", lambda _: {})
    monkeypatch.setattr("graphmesh.cli.models._get", lambda *_: mesh_service_pb2.Model(name="m"))
    looked: list[object] = []

    def broken(before: object, _: object) -> dict[str, str]:
        looked.append(before)
        return {"g": "edge a.y -> b.x"}

    monkeypatch.setattr("graphmesh.cli.models._broken_since", broken)
    for expected in (0, 1, 1):
        _change("m", "load", fake_gateway.address, "table")
        assert len(looked) == expected
    assert "graph g is no longer ready: edge a.y -> b.x" in capsys.readouterr().err


def test_a_stream_is_shown(graphmesh: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's rows say that it answers with several."""
    model = mesh_service_pb2.Model(name="tell")
    model.signature.streaming = True
    monkeypatch.setattr("graphmesh.cli.models._get", lambda *_: model)
    assert graphmesh("models", "tell")[1].splitlines()[1].split(maxsplit=1) == ["answers", "a stream of them"]


def test_how_replicas_are_shown() -> None:
    """A replica's line has version, state, memory and message; trouble names the workers that have any."""
    good = model_pb2.HostedModel(version="1", state=model_pb2.MODEL_STATE_AVAILABLE, memory_bytes=5 << 20)
    kept = model_pb2.HostedModel(version="1", state=model_pb2.MODEL_STATE_AVAILABLE, message="reload failed: x")
    gone = model_pb2.HostedModel(version="2", state=model_pb2.MODEL_STATE_UNLOADED)
    assert _described(good) == "version 1, available, 5 MiB"
    small = model_pb2.HostedModel(version="1", state=model_pb2.MODEL_STATE_AVAILABLE, memory_bytes=4096)
    assert _described(small) == "version 1, available, 4 KiB"
    assert _described(kept) == "version 1, available: reload failed: x"
    model = mesh_service_pb2.Model(name="m")
    for number, hosted in enumerate((good, kept, gone)):
        model.replicas.add(worker_id=f"w{number}", model=hosted)
    assert ready(model) == "2/3"
    assert _trouble(model) == "w1: reload failed: x; w2: unloaded"


def test_how_contracts_are_shown() -> None:
    """A version that is held is trouble of its model, not of the graph, whose trouble is why it is not ready."""
    model = mesh_service_pb2.Model(name="m")
    model.replicas.add(worker_id="w", model=model_pb2.HostedModel(state=model_pb2.MODEL_STATE_AVAILABLE))
    held = model.held.add(model="m", version="2", graph="g", reason="edge a.y -> b.x", used_version="1")
    assert _trouble(model) == "version 2 is held for graph g: edge a.y -> b.x"
    assert held_row(held) == ("m@2", "g", "version 1", "edge a.y -> b.x")
    graph = mesh_service_pb2.Model(name="g", graph=True, held=model.held, replicas=model.replicas)
    assert _trouble(graph) == ""
    graph.problem = "node b: no model"
    assert _trouble(graph) == "node b: no model"
