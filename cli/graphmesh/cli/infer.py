"""`graphmesh infer`: one call of a model or graph in natural JSON, as `curl` would make it.

A model that streams refuses a call for one answer before it runs; it is then called again, for all of them.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from graphmesh.cli.gateway import gateway_option
from graphmesh.cli.http import Answer, post, post_lines, refusal
from graphmesh.cli.out_files import check_writable, force_option
from graphmesh.cli.output import emit, is_table, output_option
from graphmesh.core.errors import DeadlinePassed, InvalidRequest, Unavailable, Unsupported
from graphmesh.core.names import check_model_name, check_version

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["checked", "infer"]

_WIDEST = 100
_LEAST_S, _MOST_S = 0.001, 1_000_000
_PATIENCE_S = 5.0
"""How long after the caller's time is up the mesh may take to say so."""
_WANTS_TEXT = "must be strings"
"""What a worker says of an input that takes text and got something else."""


@click.command()
@click.argument("model")
@click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--json", "document", help="The whole body instead: JSON, @FILE, or - for standard input.")
@click.option("--version", "model_version", default="", help="A fixed version; default: the mesh's choice.")
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, metavar="NUMBER", help="Seconds.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append the request to this file once it was answered: a line for a model's warmup.",
)
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header to send along; repeat for several."
)
@click.option("--explain", is_flag=True, help="Also draw what each step of a graph took, and what on.")
@click.option(
    "--explain-html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what --explain draws to this file, as a web page.",
)
@force_option("--explain-html")
@gateway_option
@output_option
def infer(
    model: str,
    inputs: tuple[str, ...],
    document: str | None,
    model_version: str,
    timeout_s: float,
    record: Path | None,
    headers: tuple[str, ...],
    explain_html: Path | None,
    gateway: str,
    output: str,
    *,
    explain: bool,
    force: bool,
) -> None:
    """Call MODEL (a model or a graph) and print its outputs; those of a model that streams as they come.

    VALUE is JSON (`[1, 2]`), text as it is (`hello`), or @FILE for the bytes of a file. Text that is JSON as well is
    quoted: `'"123"'`.

    \b
    graphmesh infer ocr image=@scan.png
    graphmesh infer add x='[1, 2, 3]'
    graphmesh infer ocr image=@scan.png --explain
    """  # noqa: D301 - click reads the backspace as: keep these lines
    path = f"/v1/models/{check_model_name(model)}"
    if model_version:
        path += f"/versions/{check_version(model_version)}"
    _check(timeout_s, (explain_html, force), (record, True))
    sent = {**_pairs("--header", headers), "x-graphmesh-timeout-ms": str(max(1, int(timeout_s * 1000)))}
    if explain or explain_html:
        sent["x-graphmesh-explain"] = "1"
    call = _Call(gateway, f"http://{gateway}{quote(path)}", _body(document, inputs), sent, timeout_s)
    began = time.monotonic()
    try:
        explanation = _show(call, output)
    except DeadlinePassed:
        if time.monotonic() - began < timeout_s:  # a time limit of the mesh's own: its message says which
            raise
        raise DeadlinePassed(
            f"{model!r} did not answer within {timeout_s:g} s; give it longer with --timeout"
        ) from None
    except InvalidRequest as error:
        raise error.reworded(error.message + _quoting_hint(error.message, inputs)) from None
    if explain or explain_html is not None:
        from graphmesh.cli.waterfall import draw_waterfall, write_waterfall  # noqa: PLC0415 - loads the graph engine

        if explain and is_table(output):
            click.echo()
            draw_waterfall(explanation)
        if explain_html is not None:
            write_waterfall(explanation, explain_html, force=force)
    if record is not None:
        with record.open("a") as file:
            file.write(json.dumps(json.loads(call.body), separators=(",", ":")) + "\n")


def _check(timeout_s: float, *files: tuple[Path | None, bool]) -> None:
    """Refuse, before the call is made, what could only be refused after it: files come with what --force says."""
    if not _LEAST_S <= timeout_s <= _MOST_S:
        raise InvalidRequest(f"--timeout must be from {_LEAST_S:g} to {_MOST_S} seconds, got {timeout_s:g}")
    for path, force in files:
        if path is not None:
            check_writable(path, force=force)


@dataclass(frozen=True, slots=True)
class _Call:
    gateway: str
    url: str
    body: bytes
    headers: dict[str, str]
    timeout_s: float

    def answer(self) -> dict[str, Any]:
        patience = self.timeout_s + _PATIENCE_S
        return checked(post(f"{self.url}:predict", self.body, headers=self.headers, timeout_s=patience), self.gateway)

    def answers(self) -> Iterator[dict[str, Any]]:
        patience = self.timeout_s + _PATIENCE_S
        for line in post_lines(f"{self.url}:predictStream", self.body, headers=self.headers, timeout_s=patience):
            yield checked(line, self.gateway)


def _show(call: _Call, output: str) -> dict[str, Any]:
    """Print the answer, or all of them; return what they carry as `explain`, of several the last."""
    explanation: dict[str, Any] = {}
    try:
        answer = call.answer()
    except Unsupported:  # it streams; if it was something else, so it says again
        part: dict[str, Any] | None = None
        for part in call.answers():
            _show_part(part, output)
            explanation = part.get("explain", explanation)
        if part is None and is_table(output):
            click.echo("0 answers", err=True)
        return explanation
    rows = [(name, _shown(value, output)) for name, value in answer["outputs"].items()]
    emit(output, answer, columns=("Output", "Value"), rows=rows)
    if is_table(output):
        _say_degraded(answer)
    shown: dict[str, Any] = answer.get("explain", {})
    return shown


def _show_part(answer: dict[str, Any], output: str) -> None:
    """Print one of several answers: a line of JSON, a YAML document, or a line for each output."""
    if output == "json":
        click.echo(json.dumps(answer, ensure_ascii=False))
    elif output == "yaml":
        click.echo("---")
        emit("yaml", answer, columns=(), rows=())
    else:
        for name, value in answer["outputs"].items():
            click.echo(f"{name}  {_shown(value, output)}")
        _say_degraded(answer)


def _say_degraded(answer: dict[str, Any]) -> None:
    """Say which steps of a graph answered with less than they were meant to; beside the outputs, not among them."""
    if steps := answer.get("degraded"):
        click.echo(f"degraded: {', '.join(map(str, steps))}", err=True)


def _quoting_hint(message: str, inputs: tuple[str, ...]) -> str:
    """Return how to send as text what was read as JSON, if the mesh says that an input must be text."""
    for name, separator, value in (argument.partition("=") for argument in inputs):
        if separator and f"input {name!r}: " in message and _WANTS_TEXT in message:
            return f"; if {value[:40]} is meant as text, quote it: {name}='\"{value[:40]}\"'"
    return ""


def _pairs(what: str, arguments: tuple[str, ...]) -> dict[str, str]:
    pairs = [argument.partition("=") for argument in arguments]
    for name, separator, _ in pairs:
        if not separator or not name:
            raise InvalidRequest(f"{what} must be NAME=VALUE, got {name[:80]!r}")
    return {name.lower(): value for name, _, value in pairs}


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
    good = answer.status == HTTPStatus.OK and not (isinstance(document, dict) and "error" in document)
    if not isinstance(document, dict) or ("outputs" if good else "error") not in document:
        raise Unavailable(f"{gateway} answered {answer.status} without the expected JSON; is it a graphmesh gateway?")
    if not good:
        raise refusal(document.get("code", 2), document["error"])
    return document


def _shown(value: object, output: str) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST or output == "wide" else f"{text[: _WIDEST - 3]}..."
