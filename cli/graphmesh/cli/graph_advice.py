"""`graphmesh graph advise`: what hosting one model of a graph elsewhere would save."""

from __future__ import annotations

import click

from graphmesh.cli.control import as_document, ask
from graphmesh.cli.gateway import gateway_option
from graphmesh.cli.output import emit, is_table, output_option
from graphmesh.v1 import graph_service_pb2

__all__ = ["advise"]

_SHOWN = 4
"""Tensors that a row names."""


@click.command(short_help="Tell which model hosted elsewhere would save calls.")
@click.argument("name")
@gateway_option
@output_option
def advise(name: str, gateway: str, output: str) -> None:
    """Tell what hosting one model of a graph on another worker would save, best first.

    Counted are the calls that one request makes over the network, nested graphs' included. Where a request decides how
    many there are (items of a map, turns of a loop, which branch), a usual number is taken.

    \b
    graphmesh graph advise ocr
    graphmesh graph advise ocr -o json
    """  # noqa: D301 - click reads the backspace as: keep these lines
    request = graph_service_pb2.AdviseGraphRequest(name=name)
    found: graph_service_pb2.AdviseGraphResponse = ask(gateway, lambda client: client.graphs.AdviseGraph, request)
    if is_table(output):
        click.echo(_where(found))
        if not found.moves:
            click.echo("nothing to move" if not found.network_calls else "no single model would save a call")
            return
    rows = [
        (
            f"host {move.model} on {move.to_worker}",
            f"{'instead of' if move.movable else 'as well as'} {', '.join(move.from_workers)}",
            f"{found.network_calls:.3g} -> {move.network_calls:.3g}",
            _tensors(move),
            _effect(found, move),
        )
        for move in found.moves
    ]
    columns = ("Do", "Where", "Network calls", "Tensors that stay", "Effect")
    emit(output, as_document(found), columns=columns, rows=rows, least=("Tensors that stay", "Where"))


def _where(found: graph_service_pb2.AdviseGraphResponse) -> str:
    where = ", ".join(found.workers) or "no worker"
    return (
        f"{found.graph} revision {found.revision} runs on {where}; calls of models in one request: {found.calls:.3g}, "
        f"calls over the network: {found.network_calls:.3g}"
    )


def _tensors(move: graph_service_pb2.Move) -> str:
    names = ", ".join(move.tensors[:_SHOWN])
    more = len(move.tensors) - _SHOWN
    sizes = [f"{move.known_bytes} bytes"] if move.known_bytes else []
    if move.unsized_tensors:
        sizes.append(f"{move.unsized_tensors} of unknown size")
    return f"{names}{f' and {more} more' if more > 0 else ''} ({', '.join(sizes) or '0 bytes'})"


def _effect(found: graph_service_pb2.AdviseGraphResponse, move: graph_service_pb2.Move) -> str:
    if not move.network_calls:
        return "the whole graph runs in one process"
    saved = 1 - move.network_calls / found.network_calls
    return f"{saved:.0%} fewer calls over the network"
