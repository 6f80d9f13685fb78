"""`graphmesh doctor`: what it finds, and that a problem is an exit code."""

from __future__ import annotations

import importlib.metadata
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from graphmesh.cli.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import FakeGateway

    Run = Callable[..., tuple[int, str, str]]
    Findings = dict[str, tuple[str, str]]


@pytest.fixture
def doctor(graphmesh: Run) -> Callable[..., tuple[int, Findings]]:
    """Return what runs `graphmesh doctor`: its exit code, and verdict and detail by check."""

    def run(address: str, *arguments: str) -> tuple[int, Findings]:
        code, out, _ = graphmesh("doctor", "--gateway", address, "-o", "json", *arguments)
        return code, {f["check"]: (f["verdict"], f["detail"]) for f in json.loads(out)["findings"]}

    return run


def mesh(*, etcd: bool = True, models: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return what a gateway answers, to any question that doctor asks."""
    return {"mesh": "shop", "etcd_connected": etcd, "models": models or []}


def replica(state: str, message: str = "") -> dict[str, Any]:
    """Return a model's replica as the gateway's JSON has it."""
    return {"worker_id": "w-1", "model": {"state": state, "message": message}}


def test_a_machine_without_a_mesh(graphmesh: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mesh is no problem, only a note that says how to start one; the machine's parts are looked at."""
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHMESH_GATEWAY_ADDRESS", raising=False)
    monkeypatch.setattr("graphmesh.cli.gateway._USUAL", address)
    code, out, _ = graphmesh("doctor", "-o", "json")
    findings = {f["check"]: (f["verdict"], f["detail"]) for f in json.loads(out)["findings"]}
    assert findings["mesh"] == ("note", f"none at {address}; start one with: graphmesh up")
    assert {"python", "envoy", "etcd binary", "disk", "extra tracing", "demo's models"} <= findings.keys()
    assert findings["envoy"][0] == "ok"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", findings["envoy"][1])
    assert (code == 1) == any(verdict == "problem" for verdict, _ in findings.values())


def test_a_mesh_that_was_named(doctor: Callable[..., tuple[int, Findings]]) -> None:
    """One that does not answer is a problem, and the exit code is that of `status`."""
    address = f"127.0.0.1:{free_port()}"
    code, findings = doctor(address)
    assert (code, findings["mesh"]) == (3, ("problem", f"none at {address}; start one with: graphmesh up"))


def test_what_is_not_installed(doctor: Callable[..., tuple[int, Findings]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's models and tracing are notes that say what to run, and no problem."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr("graphmesh.cli.doctor._EXTRAS", {"not_there.sdk": "tracing"})
    _, findings = doctor(f"127.0.0.1:{free_port()}")
    assert findings["extra tracing"] == (
        "note",
        "not installed; if you need it: pip install 'graphmesh[tracing]'",
    )
    verdict, detail = findings["demo's models"]
    assert (verdict, "pip install --no-deps --ignore-requires-python rapidocr-onnxruntime" in detail) == ("note", True)


def test_something_else_on_the_port(doctor: Callable[..., tuple[int, Findings]], fake_gateway: FakeGateway) -> None:
    """A server that is no gateway is a problem, whatever it answers."""
    for status, body in ((404, b"no"), (200, b"<html>"), (200, b"[]")):
        fake_gateway.status, fake_gateway.body = status, body
        code, findings = doctor(fake_gateway.address)
        assert code == 1
        assert findings["mesh"][0] == "problem"
        assert "something else listens" in findings["mesh"][1]


def test_a_healthy_mesh(doctor: Callable[..., tuple[int, Findings]], fake_gateway: FakeGateway) -> None:
    """A mesh with etcd and models that are ready has no problem."""
    fake_gateway.answers(mesh(models=[{"name": "m", "replicas": [replica("MODEL_STATE_AVAILABLE")]}]))
    code, findings = doctor(fake_gateway.address)
    assert findings["mesh"] == ("ok", f"shop answers at {fake_gateway.address}")
    assert findings["mesh's etcd"] == ("ok", "connected")
    assert not any(check.startswith("model ") for check in findings)
    assert code == 0


def test_a_reload_that_failed(doctor: Callable[..., tuple[int, Findings]], fake_gateway: FakeGateway) -> None:
    """A model that goes on with what it had is named, with why: it would not start again."""
    replicas = [replica("MODEL_STATE_AVAILABLE", "reload failed: SyntaxError"), replica("MODEL_STATE_LOADING", "soon")]
    fake_gateway.answers(mesh(models=[{"name": "slow", "replicas": replicas}]))
    code, findings = doctor(fake_gateway.address)
    assert (code, findings["model slow"]) == (1, ("problem", "w-1: reload failed: SyntaxError"))


def test_a_mesh_in_trouble(doctor: Callable[..., tuple[int, Findings]], fake_gateway: FakeGateway) -> None:
    """An etcd that is away, a model that failed to load and one that nobody hosts are problems."""
    failed = {"name": "bad", "replicas": [replica("MODEL_STATE_FAILED", "bad.onnx: not a model")]}
    fake_gateway.answers(mesh(etcd=False, models=[failed, {"name": "lost"}]))
    code, findings = doctor(fake_gateway.address)
    assert code == 1
    assert findings["mesh's etcd"][0] == "problem"
    assert findings["model bad"] == ("problem", "w-1: bad.onnx: not a model")
    assert findings["model lost"] == ("problem", "no replica; start a worker that hosts it")


def test_contracts(doctor: Callable[..., tuple[int, Findings]], fake_gateway: FakeGateway) -> None:
    """A version that a graph does not use is a note with the edge; a graph that is not ready is a problem."""
    held = {"version": "2", "graph": "g", "used_version": "1", "reason": "edge a.y -> b.x: FP32 does not fit INT64"}
    available = replica("MODEL_STATE_AVAILABLE")
    model = {"name": "m", "replicas": [available], "held": [held]}
    graphs = [
        {"name": "g", "graph": True, "replicas": [available], "held": [held]},
        {"name": "stuck", "graph": True, "replicas": [replica("MODEL_STATE_FAILED")], "problem": "node b: no model"},
        {"name": "nowhere", "graph": True},
    ]
    fake_gateway.answers(mesh(models=[model, *graphs]))
    code, findings = doctor(fake_gateway.address)
    assert findings["model m@2"] == ("note", f"graph g goes on with version 1: {held['reason']}")
    assert findings["graph stuck"] == ("problem", "node b: no model")
    assert findings["graph nowhere"] == ("problem", "no worker is ready to run it; start one")
    assert "graph g" not in findings
    assert code == 1


def test_etcd_that_does_not_answer(doctor: Callable[..., tuple[int, Findings]]) -> None:
    """An etcd that was asked for and is not there is a problem that names it."""
    etcd = f"127.0.0.1:{free_port()}"
    code, findings = doctor(f"127.0.0.1:{free_port()}", "--etcd", etcd)
    assert (code, findings["etcd"][0]) == (3, "problem")
    assert etcd in findings["etcd"][1]
