"""`graphmesh infer`: one call of a model or graph in natural JSON, as `curl` would make it."""

from __future__ import annotations

import base64
import json
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from graphmesh.cli.control import gateway_option
from graphmesh.cli.http import Answer, post
from graphmesh.cli.output import emit, output_option
from graphmesh.core.errors import InvalidRequest, Unavailable, from_code
from graphmesh.core.names import check_model_name, check_version

__all__ = ["checked", "infer", "timing_rows"]

_WIDEST = 100


@click.command()
@click.argument("model")
@click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--json", "document", help="The whole body instead: JSON, @FILE, or - for standard input.")
@click.option("--version", "model_version", default="", help="A fixed version; default: the mesh's choice.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.001), default=60.0, show_default=True, help="Seconds."
)
@click.option("--explain", is_flag=True, help="Also show what each node of a graph took.")
@gateway_option
@output_option
def infer(
    model: str,
    inputs: tuple[str, ...],
    document: str | None,
    model_version: str,
    timeout_s: float,
    gateway: str,
    output: str,
    *,
    explain: bool,
) -> None:
    """Call MODEL (a model or a graph) and print its outputs.

    VALUE is JSON (`[1, 2]`), text as it is (`hello`), or @FILE for the bytes of a file.

    \b
    graphmesh infer ocr image=@scan.png
    graphmesh infer add x='[1, 2, 3]'
    """  # noqa: D301 - click reads the backspace as: keep these lines
    path = f"/v1/models/{check_model_name(model)}"
    if model_version:
        path += f"/versions/{check_version(model_version)}"
    body = _body(document, inputs)
    headers = {"x-graphmesh-timeout-ms": str(max(1, int(timeout_s * 1000)))}
    if explain:
        headers["x-graphmesh-explain"] = "1"
    answer = checked(
        post(f"http://{gateway}{quote(path)}:predict", body, headers=headers, timeout_s=timeout_s + 5), gateway
    )
    rows = [(name, _short(value)) for name, value in answer["outputs"].items()]
    emit(output, answer, columns=("Output", "Value"), rows=rows)
    if explain and output == "table":
        click.echo()
        nodes = answer.get("explain", {}).get("nodes", [])
        emit("table", None, columns=("Node", "Model", "Worker", "Where", "Calls", "ms"), rows=timing_rows(nodes))


def timing_rows(nodes: list[dict[str, Any]], *, path: str = "") -> list[tuple[object, ...]]:
    """Return table rows of the nodes of an `explain` document; those of a nested graph follow it, summed over calls."""
    rows: list[tuple[object, ...]] = []
    for node in nodes:
        name, where = f"{path}{node['node']}", "fused" if node["fused"] else "remote"
        rows.append((name, node["target"], node["worker"], where, node["calls"], f"{node['duration_ms']:.1f}"))
        rows += timing_rows(_summed(node.get("nested", [])), path=f"{name} > ")
    return rows


def _summed(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {}
    for call in calls:
        for node in call["nodes"]:
            known = nodes.get(node["node"])
            if known is None:
                nodes[node["node"]] = dict(node)
                continue
            for count in ("duration_ms", "calls"):
                known[count] += node[count]
            known["nested"] = [*known.get("nested", []), *node.get("nested", [])]
    return list(nodes.values())


def _value(argument: str) -> tuple[str, Any]:
    name, separator, value = argument.partition("=")
    if not separator:
        raise InvalidRequest(f"an input must be NAME=VALUE, got {argument[:80]!r}")
    if value.startswith("@"):
        return name, {"b64": base64.b64encode(_read(value[1:])).decode()}
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _body(document: str | None, inputs: tuple[str, ...]) -> bytes:
    if document is None:
        values = dict(map(_value, inputs))
        if len(values) != len(inputs):
            raise InvalidRequest(f"each input must be given once, got {', '.join(i.partition('=')[0] for i in inputs)}")
        return json.dumps(values).encode()
    if inputs:
        raise InvalidRequest("give either inputs or --json, got both")
    if document == "-":
        return sys.stdin.buffer.read()
    return _read(document[1:]) if document.startswith("@") else document.encode()


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror}") from None


def checked(answer: Answer, gateway: str) -> dict[str, Any]:
    """Return the JSON of a good answer, or raise the error that a bad one carries."""
    if answer.status == 0:
        raise Unavailable(f"no mesh answers at {gateway} ({answer.body.decode()}); start one with: graphmesh up")
    try:
        document: Any = json.loads(answer.body)
    except ValueError:
        document = None
    good = answer.status == HTTPStatus.OK
    if not isinstance(document, dict) or ("outputs" if good else "error") not in document:
        raise Unavailable(f"{gateway} answered {answer.status} without the expected JSON; is it a graphmesh gateway?")
    if not good:
        raise from_code(document.get("code", 2), document["error"])
    return document


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
